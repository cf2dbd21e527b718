"""Bodies of POST /recommend: what is read, and how each mistake is named."""

import json

import pytest

from serving.request import BadRequest, Question, nearest, read_question

PRODUCTS = {f"P{i:02d}": i for i in range(12)}


def ask(**fields: object) -> Question:
    return read_question(json.dumps(fields).encode(), PRODUCTS)


def test_a_known_customer_with_everything_said() -> None:
    question = ask(customer_id="C1", k=3, exclude=["P01"], candidates=["P01", "P02"])
    assert question == Question("C1", None, 3, ("P01",), ("P01", "P02"))


def test_what_is_left_out_has_defaults() -> None:
    assert ask(customer_id="C1") == Question("C1", None, 10, (), None)
    assert read_question(b'{"customer_id": "C1"}', {"P1": 0, "P2": 1}).k == 2
    assert ask(customer={"customers": []}).customer == {"customers": []}


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({}, "customer_id", "neither is given"),
        ({"customer_id": "C1", "customer": {}}, "customer_id", "both are given"),
        ({"customer_id": 7}, "customer_id", "an id is a string"),
        ({"customer_id": None}, "customer_id", "null"),
        ({"customer_id": ""}, "customer_id", "1 to 256"),
        ({"customer_id": "x" * 257}, "customer_id", "1 to 256"),
        ({"customer_id": "\ud800"}, "customer_id", "surrogate"),
        ({"customer": []}, "customer", "must be an object"),
        ({"customer": None}, "customer", "null"),
        ({"customer_id": "C1", "k": 0}, "k", "from 1 to the 12 products"),
        ({"customer_id": "C1", "k": -1}, "k", "too small"),
        ({"customer_id": "C1", "k": 13}, "k", "too large"),
        ({"customer_id": "C1", "k": 10**30}, "k", "too large"),
        ({"customer_id": "C1", "k": True}, "k", "is an integer"),
        ({"customer_id": "C1", "k": 2.0}, "k", "is an integer"),
        ({"customer_id": "C1", "k": "3"}, "k", "is an integer"),
        ({"customer_id": "C1", "k": None}, "k", "is an integer"),
        ({"customer_id": "C1", "exclude": "P01"}, "exclude", "list of product ids"),
        ({"customer_id": "C1", "exclude": ["P01", "P99"]}, "exclude[1]", "did you mean 'P09'"),
        ({"customer_id": "C1", "exclude": [1]}, "exclude[0]", "an id is a string"),
        ({"customer_id": "C1", "candidates": []}, "candidates", "at least one"),
        ({"customer_id": "C1", "candidates": None}, "candidates", "null"),
        ({"customer_id": "C1", "candidates": ["P01"] * 13}, "candidates", "at most once"),
        ({"customer_id": "C1", "diversity": 1.5}, "diversity", "from 0 (by score alone) to 1"),
        ({"customer_id": "C1", "diversity": True}, "diversity", "true or false"),
        ({"customer_id": "C1", "diversity": None}, "diversity", "null"),
        ({"customer_id": "C1", "reasons": 11}, "reasons", "an integer from 0 to 10"),
        ({"customer_id": "C1", "reasons": "all"}, "reasons", "a string"),
        ({"customer_id": "C1", "candidate": ["P01"]}, "candidate", "did you mean 'candidates'"),
        ({"customerid": "C1"}, "customerid", "did you mean 'customer_id'"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(fields: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ask(**fields)
    assert caught.value.field == field
    assert says in caught.value.message
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (b"", "body", "not JSON"),
        (b"{", "body", "line 1"),
        (b"[]", "body", "a list"),
        (b'"C1"', "body", "send an object"),
        (b"\xff\xfe", "body", "UTF-8"),
        (b'{"customer_id": "C1", "k": NaN}', "k", "finite"),
        (b'{"customer_id": "C1", "k": 1e999}', "k", "finite"),
        (
            b'{"customer": {"transactions": [{"amount": 1}, {"amount": -Infinity}]}}',
            "customer.transactions[1].amount",
            "finite",
        ),
        (b'{"customer_id": "C1", "customer_id": "C2"}', "customer_id", "twice"),
        (b'{"customer_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body", "nested"),
        (b'{"customer_id": "C1", "k": ' + b"1" * 10_000 + b"}", "body", "too many digits"),
        (b" " * (5 << 20), "body", "larger than"),
    ],
)
def test_a_body_that_cannot_be_read(body: bytes, field: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_question(body, PRODUCTS)
    assert (caught.value.field, says in caught.value.message) == (field, True), caught.value.message


def test_a_million_candidates_are_refused() -> None:
    million = json.dumps({"customer_id": "C1", "candidates": ["P"] * 1_000_000}, separators=(",", ":")).encode()
    with pytest.raises(BadRequest) as caught:
        read_question(million, PRODUCTS)
    assert caught.value.field in ("candidates", "body")


def test_an_error_shows_the_field_but_not_the_value_where_it_may_be_logged() -> None:
    with pytest.raises(BadRequest) as caught:
        ask(customer_id="C1", exclude=["SECRET"])
    assert "SECRET" not in str(caught.value)


def test_the_nearest_name_is_not_looked_for_among_very_many() -> None:
    assert nearest("x" * 300, [f"product-{i}" for i in range(200_000)]).endswith("(200000 in all)")


def test_depth_and_length_of_texts_are_bounded_and_named() -> None:
    for depth, field in ((11, "customer.a.a.a.a.a.a.a.a.a"), (50, "customer.a.a.a.a.a.a.a.a.a")):
        with pytest.raises(BadRequest, match="customer") as caught:
            read_question(('{"customer": ' + '{"a": ' * depth + "1" + "}" * depth + "}").encode(), PRODUCTS)
        assert caught.value.field == field and "nested deeper than 10 levels" in caught.value.message
    with pytest.raises(BadRequest) as caught:
        read_question(json.dumps({"customer": {"t": [{"x": "y" * 10_001}]}}).encode(), PRODUCTS)
    assert (caught.value.field, "at most 10,000" in caught.value.message) == ("customer.t[0].x", True)

"""The body of a question: read strictly, refused with the name of the field and what would be right."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WHO = ("customer_id", "events", "customer")
"""Fields of POST /segment."""
LEAVING = (*WHO, "reasons")
"""Fields of POST /churn."""
LIKE = (*WHO, "k")
"""Fields of POST /similar_customers."""
FIELDS = (*WHO, "k", "exclude", "candidates", "diversity", "reasons", "removed")
"""Fields of POST /recommend."""
EXAMPLE = '{"customer_id": "C1", "k": 5}'
DEFAULT_K = 10
MOST_REASONS = 10
"""For one product, or for leaving."""
REASONS = 3
"""For leaving, where the question does not say how many."""
MOST_ALIKE = 100
"""Products or customers that are listed as alike."""
MAX_BODY = 4 * 1024 * 1024
"""Bytes; about 25,000 events of a customer's own data."""
TOO_LARGE = f"larger than {MAX_BODY:,} bytes; send one customer's rows and short lists of products"
MAX_ID = 256
"""Characters of an id."""
MAX_TEXT = 10_000
"""Characters of a text value."""
MAX_DEPTH = 10
"""Objects and lists within each other; rows of a customer in a list of customers, with tags, are 7."""
MANY = 2000
"""Names among which the nearest is looked for; more would take longer than the answer is worth."""
Body = bytes | Mapping[str, Any]
"""A body as it was sent, or its fields."""
KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "object"}


class BadRequest(Exception):
    """A request that cannot be answered; `message` says what would be right and is meant for the caller only.

    It may quote the request, so it is never logged.
    """

    def __init__(self, field: str, message: str, status: int = 422, *, retry_after: int | None = None) -> None:
        """`retry_after` in seconds, where the same request may succeed later."""
        super().__init__(field)
        self.field = field
        self.message = message
        self.status = status
        self.retry_after = retry_after


class Unavailable(BadRequest):
    """Something that the service needs cannot be reached now; the same request may be sent again later."""

    def __init__(self, message: str) -> None:
        super().__init__("store", message, 503, retry_after=1)


@dataclass(frozen=True)
class Who:
    """About whom; exactly one of `customer_id` and `customer` (table → rows, not yet checked) is set."""

    customer_id: str | None
    customer: Mapping[str, Any] | None
    events: Mapping[str, Any] | None = field(default=None, kw_only=True)
    """What has just happened to the customer of the id (table → rows, not yet checked)."""


@dataclass(frozen=True)
class Question(Who):
    """A checked body of POST /recommend."""

    k: int
    exclude: tuple[str, ...]
    candidates: tuple[str, ...] | None
    diversity: float | None = None
    """None: as the bundle was configured."""
    reasons: int = 0
    """How many for each product, at most."""
    removed: bool = False
    """Whether to tell which products were removed, and by which rule."""


def read_question(body: Body, products: Mapping[str, int]) -> Question:
    """The question in a body, for a catalogue given as product id → position; BadRequest says what is wrong."""
    fields = read_fields(body)
    who = _who(fields, FIELDS)
    candidates = _products(fields, "candidates", products)
    if candidates == ():
        raise BadRequest("candidates", "an empty list; name at least one product, or leave it out to rank all of them")
    return Question(
        customer_id=who.customer_id,
        customer=who.customer,
        events=who.events,
        k=_k(fields, len(products)),
        exclude=_products(fields, "exclude", products) or (),
        candidates=candidates,
        diversity=_diversity(fields),
        reasons=_reasons(fields, 0, "how many for each product"),
        removed=_removed(fields),
    )


def read_who(body: Body) -> Who:
    """About whom the body of POST /segment asks; BadRequest says what is wrong."""
    return _who(read_fields(body), WHO)


def read_leaving(body: Body) -> tuple[Who, int]:
    """About whom the body of POST /churn asks, and for how many reasons; BadRequest says what is wrong."""
    fields = read_fields(body)
    who = _who(fields, LEAVING)
    return who, _reasons(fields, REASONS, "how many for leaving")


def read_like(body: Body) -> tuple[Who, int]:
    """To whom the body of POST /similar_customers asks for similar ones, and how many."""
    fields = read_fields(body)
    return _who(fields, LIKE), _count(fields, MOST_ALIKE)


def read_product(body: Body, products: Mapping[str, int]) -> tuple[str, int]:
    """The product of the body of POST /similar_products, and how many; an unknown product is refused with 404."""
    fields = read_fields(body)
    for name in fields:
        if name not in ("product_id", "k"):
            raise BadRequest(name[:MAX_ID], f"unknown field; {nearest(name, ('product_id', 'k'))}")
    if "product_id" not in fields:
        raise BadRequest("product_id", "missing; name the product to which others are compared")
    product = read_id(fields["product_id"], "product_id")
    if product not in products:
        raise BadRequest("product_id", f"no product of this bundle; {nearest(product, products)}", 404)
    return product, _count(fields, MOST_ALIKE)


def _count(fields: Mapping[str, Any], most: int) -> int:
    k = fields.get("k", DEFAULT_K)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= most:
        said = "out of range" if type(k) is int else kind_of(k)
        raise BadRequest("k", f"{said}; k is an integer from 1 to {most}")
    return k


def _who(fields: Mapping[str, Any], valid: Sequence[str]) -> Who:
    for name in fields:
        if name not in valid:
            raise BadRequest(name[:MAX_ID], f"unknown field; {nearest(name, valid)}")
    if ("customer_id" in fields) == ("customer" in fields):
        given = "both are given" if "customer" in fields else "neither is given"
        right = "give exactly one of customer_id (a customer of the lake) and customer (their own data)"
        raise BadRequest("customer_id", f"{given}; {right}")
    customer, events = fields.get("customer"), fields.get("events")
    if "events" in fields and "customer_id" not in fields:
        raise BadRequest("events", "beside customer; put the rows into the customer's own tables")
    if "events" in fields and not (isinstance(events, dict) and events):
        raise BadRequest("events", f"{kind_of(events)}; it must be an object: table name → list of rows")
    if "customer" in fields and not isinstance(customer, dict):
        raise BadRequest("customer", f"{kind_of(customer)}; it must be an object: table name → list of rows")
    known = read_id(fields["customer_id"], "customer_id") if "customer_id" in fields else None
    return Who(known, customer, events=events)


def read_id(value: object, field: str) -> str:
    """An external id: a non-empty string of at most 256 characters that UTF-8 can hold."""
    if not isinstance(value, str):
        raise BadRequest(field, f"{kind_of(value)}; an id is a string")
    if not value or len(value) > MAX_ID:
        raise BadRequest(field, f"{len(value)} characters; an id has 1 to {MAX_ID}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(field, "half of a surrogate pair, which is no character; send whole characters") from None
    return value


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint: the valid name nearest to `name`, or the first few there are."""
    names = list(valid)
    close = difflib.get_close_matches(name[:MAX_ID], names, n=1, cutoff=0.5) if len(names) <= MANY else []
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" … ({len(names)} in all)" if len(names) > 8 else ""
    return f"there are {', '.join(names[:8]) or 'none'}{more}"


def read_fields(body: Body) -> dict[str, Any]:
    """The fields of a body, read strictly; what has been read stays as it is."""
    if isinstance(body, Mapping):
        return dict(body)
    if len(body) > MAX_BODY:
        raise BadRequest("body", TOO_LARGE, 413)
    try:
        value = json.loads(body.decode(), object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError as error:
        raise BadRequest("body", f"byte {error.start} is not UTF-8; send JSON in UTF-8", 400) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadRequest("body", f"not JSON ({error.msg} at {where}); send an object such as {EXAMPLE}", 400) from None
    except RecursionError:
        raise BadRequest("body", "nested too deeply; an object of tables, rows and values is 4 levels") from None
    except ValueError:  # an integer of thousands of digits
        raise BadRequest("body", "a number with too many digits; integers have at most 19") from None
    if not isinstance(value, dict):
        raise BadRequest("body", f"{kind_of(value)}; send an object such as {EXAMPLE}")
    _check_values(value, "", 1)
    return value


def _check_values(value: object, path: str, depth: int) -> None:
    """Refuse what Python's JSON reader lets through: NaN, Infinity, numbers beyond a float; and what is too deep."""
    if isinstance(value, float):
        if not math.isfinite(value):
            what = "NaN, Infinity or beyond the range of a float; send a finite number, or null where there is none"
            raise BadRequest(path.lstrip("."), what)
    elif isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise BadRequest(path.lstrip("."), f"{len(value):,} characters; a text has at most {MAX_TEXT:,}")
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise BadRequest(
                path.lstrip(".") or "body", f"nested deeper than {MAX_DEPTH} levels; no question is so deep"
            )
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            if isinstance(item, float | str | dict | list):
                inside = f"{path}.{name[:MAX_ID]}" if isinstance(name, str) else f"{path}[{name}]"
                _check_values(item, inside, depth + 1)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise BadRequest(twice[:MAX_ID], "given twice in one object; give it once")
    return value


def _k(fields: Mapping[str, Any], products: int) -> int:
    if "k" not in fields:
        return min(DEFAULT_K, products)
    k = fields["k"]
    right = f"k is an integer from 1 to the {products} products of the catalogue"
    if isinstance(k, bool) or not isinstance(k, int):
        raise BadRequest("k", f"{kind_of(k)}; {right}")
    if not 1 <= k <= products:
        raise BadRequest("k", f"too {'small' if k < 1 else 'large'}; {right}")
    return k


def _diversity(fields: Mapping[str, Any]) -> float | None:
    value = fields.get("diversity", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        said = kind_of(value) if isinstance(value, bool) or not isinstance(value, int | float) else "out of range"
        raise BadRequest("diversity", f"{said}; it is a number from 0 (by score alone) to 1")
    return float(value) if "diversity" in fields else None


def _removed(fields: Mapping[str, Any]) -> bool:
    value = fields.get("removed", False)
    if not isinstance(value, bool):
        raise BadRequest("removed", f"{kind_of(value)}; true tells which products were removed, and by which rule")
    return value


def _reasons(fields: Mapping[str, Any], default: int, what: str) -> int:
    value = fields.get("reasons", default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_REASONS:
        said = "out of range" if type(value) is int else kind_of(value)
        raise BadRequest("reasons", f"{said}; it is {what}, an integer from 0 to {MOST_REASONS}")
    return value


def _products(fields: Mapping[str, Any], name: str, products: Mapping[str, int]) -> tuple[str, ...] | None:
    if name not in fields:
        return None
    ids = fields[name]
    if not isinstance(ids, list):
        raise BadRequest(name, f"{kind_of(ids)}; it must be a list of product ids")
    if len(ids) > len(products):
        raise BadRequest(name, f"{len(ids):,} entries; name each of the {len(products):,} products at most once")
    for position, product in enumerate(ids):
        field = f"{name}[{position}]"
        if read_id(product, field) not in products:
            raise BadRequest(field, f"no product of this bundle; {nearest(product, products)}")
    return tuple(ids)


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    return KINDS.get(type(value), type(value).__name__)

"""The table of endpoints: paths with and without segments in braces, and handlers that exist."""

import importlib
from functools import reduce

import pytest

from serving.endpoints import ENDPOINTS, Endpoint, Routes


def endpoint(method: str, path: str) -> Endpoint:
    return Endpoint(method, path, "score", "x:y", "Does nothing.")  # type: ignore[arg-type]


def test_a_segment_in_braces_stands_for_one_whole_decoded_segment() -> None:
    routes = Routes((endpoint("GET", "/customers/{id}"), endpoint("PUT", "/customers/{id}/consent")))
    methods, path = routes.at("/customers/a%2Fb%20%C3%A9")
    assert set(methods) == {"GET"} and path == {"id": "a/b é"}
    methods, path = routes.at("/customers/C1/consent")
    assert set(methods) == {"PUT"} and path == {"id": "C1"}
    for absent in ("/customers", "/customers/", "/customers/a/b", "/customers/a/consent/", "/Customers/a"):
        assert routes.at(absent) == ({}, {})


def test_a_path_has_each_method_once() -> None:
    with pytest.raises(ValueError, match="GET /a stands twice"):
        Routes((endpoint("GET", "/a"), endpoint("POST", "/a"), endpoint("GET", "/a")))


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e.handler], ids=lambda e: f"{e.method} {e.path}")
def test_every_row_names_a_function_and_examples_have_the_shape(endpoint: Endpoint) -> None:
    assert endpoint.handler is not None
    module, _, name = endpoint.handler.partition(":")
    assert callable(reduce(getattr, name.split("."), importlib.import_module(module)))
    if endpoint.request is not None:
        assert endpoint.example is not None
        endpoint.request.model_validate(endpoint.example)

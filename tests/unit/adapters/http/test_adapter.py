"""Settings of an HTTP integration, and which requests may be repeated."""

from typing import Any

import pytest

from bridge.adapters.http.adapter import HttpAdapter
from bridge.adapters.http.config import HttpConfig
from bridge.core.endpoint import Endpoint
from bridge.core.model import Request
from tests.support.adapters.setup import adapter_setup


@pytest.mark.parametrize(
    ("method", "idempotent"),
    [
        ("GET /", True),
        ("PUT /x", True),
        ("DELETE /x", True),
        ("POST /x", False),
        ("PATCH /x", False),
        ("POST /search", True),
    ],
)
def test_what_may_be_repeated(method: str, idempotent: bool) -> None:
    """A request may be repeated by its HTTP method, or where `idempotent` names it."""
    adapter = HttpAdapter(adapter_setup("x", Endpoint(url="http://x"), config=HttpConfig(idempotent=("POST /search",))))
    assert adapter.is_idempotent(Request(method=method)) is idempotent


@pytest.mark.parametrize(
    "config",
    [{"path": "/x"}, {"events": "x"}, {"events": "/a b"}, {"health_path": "//\n"}, {"allow_headers": ["Cookie"]}],
)
def test_settings_that_cannot_work(config: dict[str, Any]) -> None:
    """Paths and header names that cannot work are errors of the configuration."""
    with pytest.raises(ValueError, match=r"path|Cookie"):
        HttpConfig(**config)


def test_an_endpoint_with_a_query() -> None:
    """An endpoint with a query is refused, because a command's path cannot be appended to it."""
    with pytest.raises(ValueError, match="query"):
        HttpAdapter(adapter_setup("x", Endpoint(url="http://x/?a=b")))

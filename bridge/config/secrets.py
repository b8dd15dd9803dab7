"""Collect the secret values of a configuration: all credentials, and what came from the environment."""

import base64
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from bridge.config.models import Integration
from bridge.core.endpoint import AnyAuth, AuthBasic, Endpoint


def collect_secrets(integrations: Iterable[Integration], from_environment: Iterable[str]) -> frozenset[str]:
    """Return the texts that must be removed from logs, errors and events.

    Hosts, ports, `true` and `false` are not among them: an error must still name the remote that it is about.

    Args:
        integrations: The integrations; their credentials are secret, wherever they came from.
        from_environment: Texts that came from the environment, or from a variable that is `sensitive`.
    """
    found: set[str] = set()
    hosts: set[str] = set()
    for one in integrations:
        found.update(_credentials(one.auth), _pair(one.auth), _credentials(one.config))
        hosts.update(_hosts(one.endpoint))
    for text in from_environment:
        found.update(_parts(text))
    return frozenset(found - hosts)


def strings(value: Any) -> Iterator[str]:
    """Return every string in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def _credentials(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _credentials(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _credentials(item)


def _pair(auth: AnyAuth) -> Iterator[str]:
    """Return user and password as HTTP writes them; it reveals a password that is too short to be found by itself."""
    if isinstance(auth, AuthBasic):
        yield base64.b64encode(f"{auth.username or ''}:{auth.password.get_secret_value()}".encode()).decode()


def _hosts(endpoint: Endpoint | None) -> Iterator[str]:
    text = "" if endpoint is None else endpoint.url or endpoint.address or ""
    yield text.partition("/")[0]
    yield (urlsplit(text).hostname or "") if "://" in text else text


def _parts(text: str) -> Iterator[str]:
    """Return the secret parts: of a URL its path and query; otherwise the whole, unless it is a port or a boolean."""
    if "://" not in text:
        if not (text.isdecimal() and len(text) <= len("65535")) and text not in {"true", "false"}:
            yield text
        return
    try:
        parts = urlsplit(text)
    except ValueError:
        yield text
        return
    yield parts.path
    yield unquote(parts.path)
    yield parts.query
    for _, value in parse_qsl(parts.query):
        yield value

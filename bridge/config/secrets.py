"""Collect the secret values of a configuration: all credentials, and what came from the environment."""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from pydantic import BaseModel, SecretStr

from bridge.config.expressions import Expression, Literal
from bridge.config.models import BridgeSettings, Integration
from bridge.core.endpoint import AnyAuth, AuthBasic, Endpoint

_HIDDEN: Final = "its value is not valid (it is not shown, because it is secret)"
#: Characters from which on a secret counts wherever it is in a message; a shorter one is in every sentence.
_LONG: Final = 3


def collect_secrets(
    integrations: Iterable[Integration], from_environment: Iterable[str], bridge: BridgeSettings | None = None
) -> frozenset[str]:
    """Return the texts that must be removed from logs, errors and events.

    Hosts, ports, `true` and `false` are not among them: an error must still name the remote that it is about.

    Args:
        integrations: The integrations; their credentials are secret, wherever they came from.
        from_environment: Texts that came from the environment, or from a variable that is `sensitive`.
        bridge: The block about the sidecar itself, of which only the console's token is secret.
    """
    found: set[str] = set(_credentials(bridge))
    hosts: set[str] = set()
    for one in integrations:
        found.update(_credentials(one.auth), _pair(one.auth), _credentials(one.config))
        hosts.update(_hosts(one.endpoint))
    for text in from_environment:
        found.update(_parts(text))
    return frozenset(found - hosts)


def is_text(value: str) -> bool:
    """Return whether a text is UTF-8: Python has other bytes of the environment as halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


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


class SecretValue(msgspec.Struct, frozen=True):
    """A value that holds secrets, so that no diagnostic may repeat it.

    Attributes:
        text: All of it.
        secrets: Its parts that are secret.
        plain: Its other parts, which the file itself has; a diagnostic may repeat them.
    """

    text: str
    secrets: tuple[str, ...]
    plain: tuple[str, ...] = ()

    @classmethod
    def whole(cls, value: Any) -> "SecretValue":
        """Return a value all of which is secret."""
        return cls(str(value), (str(value),))

    @classmethod
    def of(cls, expression: Expression) -> "SecretValue":
        """Return the value of an expression that needs no message."""
        if not isinstance(expression, Literal):
            return cls.whole(expression.evaluate({}))
        pieces = list(expression.pieces())
        return cls(
            str(expression.value),
            tuple(str(piece.value) for piece in pieces if piece.secret),
            tuple(str(piece.value) for piece in pieces if not piece.secret),
        )

    def hidden(self, message: str) -> str:
        """Return the message; another one without the value where it may repeat a secret part of it."""
        return _HIDDEN if self._is_in(message) else message

    def _is_in(self, message: str) -> bool:
        for secret in filter(None, self.secrets):
            if len(secret) >= _LONG and secret in message:
                return True
            if re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", message):
                return True
        # A message may also quote a piece, as of a URL: a number, or a longer word.
        words = re.findall(r"\d+|[\w.-]{3,}", message)
        return any(word in self.text and not any(word in part for part in self.plain) for word in words)

"""Secrets out of what remotes and libraries say: a remote may repeat our own credentials in its error message."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote, quote_plus

from bridge.core.errors import BridgeError

MASK: Final = "***"
#: A secret of fewer letters than this would be found in every other word.
SHORTEST: Final = 4
#: Letters of a secret that count where the rest of it was cut off.
_START: Final = 6


class Redactor:
    """Knows the secrets of a configuration and replaces them, in every form in which they usually travel.

    It costs something for each letter and each secret, and is meant for errors and logs, not for events.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Know these, too; what was known before stays secret."""
        found = set(self._forms)
        for secret in secrets:
            if len(secret) >= SHORTEST:
                found.update(form.lower() for form in _forms(secret))
        self._forms = tuple(sorted(found, key=lambda form: (-len(form), form)))

    def text(self, text: str) -> str:
        """The text without secrets, in upper or lower case; nor the beginning of one at its end, where it was cut."""
        lower = text.lower()
        for form in self._forms:
            if form in lower:
                text = re.sub(re.escape(form), MASK, text, flags=re.IGNORECASE)
                lower = text.lower()
        for form in self._forms:
            at = lower.rfind(form[:_START])
            if at >= 0 and form.startswith(lower[at:]):
                text = text[:at] + MASK
                lower = text.lower()
        return text

    def value(self, value: Any) -> Any:
        """Any value of JSON's data model, or bytes, without secrets in its texts and keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def error(self, error: BridgeError) -> None:
        """Take secrets out of what an error says; what it is stays."""
        if not self._forms:
            return
        error.message = self.text(error.message)
        error.args = (error.message,)
        error.code = self.value(error.code)
        error.data = self.value(error.data)


def _forms(secret: str) -> Iterator[str]:
    """The secret as it is, and as URLs, JSON, Python's own repr and base64 write it."""
    yield secret
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield quoted.replace("%", "%25")
    for text in (json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)):
        yield text[1:-1]
    raw = secret.encode("utf-8", "surrogateescape")
    for before in range(3):
        # Wherever it stands in what was encoded (`user:secret`), its middle looks one of three ways.
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        middle = encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        if len(middle) >= SHORTEST:
            yield middle
            yield middle.replace("+", "-").replace("/", "_")

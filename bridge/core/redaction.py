"""Remove secrets from texts of remotes and libraries: a remote may repeat our own credentials in its error message."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote, quote_plus

from bridge.core.errors import BridgeError

MASK: Final = "***"
#: Characters. A shorter secret would be found in many ordinary words.
SHORTEST: Final = 4
#: Characters at the beginning of a secret that are enough to remove it at the end of a text that was cut.
_START: Final = 6


class Redactor:
    """Replace the secrets of a configuration in texts, in every form in which they are usually written.

    The time grows with the length of the text and the number of secrets: it is meant for errors and logs, not for
    events.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: tuple[str, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Add secrets; those that were added before stay secret."""
        found = set(self._forms)
        for secret in secrets:
            if len(secret) >= SHORTEST:
                found.update(form.lower() for form in _forms(secret))
        self._forms = tuple(sorted(found, key=lambda form: (-len(form), form)))

    def text(self, text: str) -> str:
        """Return the text with its secrets masked, in upper or lower case, and the beginning of one at its end."""
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
        """Return a value of JSON's data model, or bytes, with the secrets in its texts and keys masked."""
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
        """Mask the secrets in an error's message, code and data; everything else stays."""
        if not self._forms:
            return
        error.message = self.text(error.message)
        error.args = (error.message,)
        error.code = self.value(error.code)
        error.data = self.value(error.data)


def _forms(secret: str) -> Iterator[str]:
    """Return the secret as it is, and as URLs, JSON, Python's repr and base64 write it."""
    yield secret
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield quoted.replace("%", "%25")
    for text in (json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)):
        yield text[1:-1]
    raw = secret.encode("utf-8", "surrogateescape")
    for before in range(3):
        # Its middle has one of three forms, depending on its position in what was encoded (`user:secret`).
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        middle = encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        if len(middle) >= SHORTEST:
            yield middle
            yield middle.replace("+", "-").replace("/", "_")

"""The table from HTTP statuses to the bridge's errors (bus contract, "Commands"), for a body that tells no more."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from bridge.adapters._common.http.message import Response
from bridge.core.errors import AuthError, BridgeError, RejectedError, ThrottledError, UnavailableError

_DAY_MS: Final = 24 * 3600 * 1000
_MOST_LOCATION: Final = 200


def credentials_error(response: Response) -> AuthError | None:
    """Return the error of 401, whatever the body; None for others."""
    if response.status != 401:
        return None
    return AuthError("the server refused the credentials (HTTP 401)", code=401, permanent=True)


def check_credentials(response: Response) -> None:
    """Raise AuthError for 401; any other status shows a server that is alive and may take the credentials."""
    error = credentials_error(response)
    if error is not None:
        raise error


def wait_error(response: Response) -> ThrottledError | None:
    """Return the error of 408, 429 and 503 with `Retry-After`, whatever the body; None for others."""
    if response.status not in {408, 429, 503}:
        return None
    wait = retry_after_ms(response)
    if wait is None:
        return None
    return ThrottledError(f"the server asks to wait ({_named(response)})", code=response.status, retry_after_ms=wait)


def status_error(response: Response) -> BridgeError | None:
    """Return the error of a status; None for 2xx."""
    status = response.status
    error = credentials_error(response) or wait_error(response)
    if error is not None or 200 <= status < 300:
        return error
    text = f"the server answered {_named(response)}"
    if status == 429:
        return ThrottledError(text, code=status)
    if status == 421:
        # Not this server, or not over this connection; it has not acted on the request (RFC 9110, 15.5.20).
        return UnavailableError(text, code=status, maybe_sent=False)
    if status == 408 or status >= 500:
        return UnavailableError(text, code=status)
    if 300 <= status < 400:
        text += f", and redirects are not followed{_location(response)}"
    return RejectedError(text, code=status)


def _location(response: Response) -> str:
    """Return where a redirect leads, in words; without the query, which may hold a secret."""
    location = (response.header(b"location") or "").partition("?")[0].partition("#")[0]
    return f"; it leads to {location[:_MOST_LOCATION]}" if location and "@" not in location else ""


def retry_after_ms(response: Response) -> int | None:
    """Read how long a response asks to wait (`Retry-After`: RFC 9110, 10.2.3), in milliseconds; at most a day.

    The header holds seconds or a date. A date is measured against the response's own `Date`, so that it does not matter
    how far the server's clock and ours differ; without that header against the time at which the response came.

    Returns:
        None where there is no such header, or it holds neither.
    """
    value = (response.header(b"retry-after") or "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]) * 1000, _DAY_MS)
    until = _unix(value)
    if until is None:
        return None
    now = _unix(response.header(b"date") or "")
    now_ms = response.received_ms if now is None else now * 1000
    return max(0, min(int(until * 1000 - now_ms), _DAY_MS))


def _unix(date: str) -> float | None:
    try:
        parsed = parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):  # what the library raises on dates that are none
        return None


def _named(response: Response) -> str:
    try:
        return f"HTTP {response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        return f"HTTP {response.status}"

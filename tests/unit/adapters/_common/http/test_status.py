"""How long a response asks to wait: `Retry-After` with seconds and with a date."""

import pytest

from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.status import retry_after_ms

DAY_MS = 24 * 3600 * 1000
RECEIVED_MS = 1_445_412_500_500


def response(retry_after: str, date: str | None = None) -> Response:
    """Make a 503 with this `Retry-After`, received at 2015-10-21 07:28:20.5 UTC."""
    headers = [(b"retry-after", retry_after.encode())]
    if date is not None:
        headers.append((b"date", date.encode()))
    return Response(503, headers, b"", RECEIVED_MS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0), ("2", 2000), (" 120 ", 120_000), ("9" * 30, DAY_MS), ("-1", None), ("1.5", None), ("soon", None)],
)
def test_seconds(value: str, expected: int | None) -> None:
    """Whole seconds count, up to a day; anything else is ignored."""
    assert retry_after_ms(response(value)) == expected


def test_a_date_is_measured_against_the_servers_own_clock() -> None:
    """A date is measured against the `Date` of the response, so that a wrong server clock does not matter."""
    assert retry_after_ms(response("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT")) == 30_000


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_without_the_servers_time_a_date_is_measured_against_when_the_response_came(date: str | None) -> None:
    """Without a `Date` that can be read, a date is measured against the time at which the response came."""
    assert retry_after_ms(response("Wed, 21 Oct 2015 07:28:30 GMT", date)) == 9_500
    assert retry_after_ms(response("Wed, 21 Oct 2015 07:28:20 GMT", date)) == 0
    assert retry_after_ms(response("Sat, 24 Oct 2015 07:28:30 GMT", date)) == DAY_MS


def test_a_date_in_the_past_means_now() -> None:
    """A date before `Date` is a wait of 0."""
    assert retry_after_ms(response("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT")) == 0


def test_no_header_no_wait() -> None:
    """Without the header there is no wait, which is not the same as a wait of 0."""
    assert retry_after_ms(Response(503, [], b"", RECEIVED_MS)) is None

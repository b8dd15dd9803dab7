"""How long a response asks to wait: `Retry-After` with seconds and with a date."""

import pytest

from bridge.adapters._common.http.message import Response
from bridge.adapters._common.http.status import retry_after_ms, status_error

DAY_MS = 24 * 3600 * 1000
RECEIVED_MS = 1_445_412_500_500


def response(retry_after: str, date: str | None = None) -> Response:
    """Make a 503 with this `Retry-After`, received at 2015-10-21 07:28:20.5 UTC."""
    headers = [(b"retry-after", retry_after.encode("latin-1"))]
    if date is not None:
        headers.append((b"date", date.encode("latin-1")))
    return Response(503, headers, b"", RECEIVED_MS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("2", 2000),
        (" 120 ", 120_000),
        ("9" * 30, DAY_MS),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
    ],
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


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 2024 00:00:00 +99999999999999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 99 Foo 2024 99:99:99 GMT",
        "Jan +9999999999999999 23:59:60 69",
        "(" * 5000,
        "\xff\xfe",
    ],
)
def test_dates_that_are_none(date: str) -> None:
    """A `Retry-After` or `Date` that no clock can show is ignored, whatever Python's parser of dates raises."""
    assert retry_after_ms(response(date)) is None
    assert retry_after_ms(response("2", date)) == 2000
    assert retry_after_ms(response("Wed, 21 Oct 2015 07:28:30 GMT", date[:100])) == 9_500


def test_a_date_in_the_past_means_now() -> None:
    """A date before `Date` is a wait of 0."""
    assert retry_after_ms(response("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT")) == 0


def test_no_header_no_wait() -> None:
    """Without the header there is no wait, which is not the same as a wait of 0."""
    assert retry_after_ms(Response(503, [], b"", RECEIVED_MS)) is None


@pytest.mark.parametrize(
    ("location", "shown"),
    [("https://new.example/v2?key=s3cret#x", True), ("https://user:s3cret@new.example/v2", False), ("", False)],
)
def test_a_redirect_says_where_it_leads(location: str, shown: bool) -> None:
    """A redirect that is not followed says where it leads, without what may be a secret."""
    error = status_error(Response(308, [(b"location", location.encode())], b"", RECEIVED_MS))
    assert error is not None
    assert ("it leads to https://new.example/v2" in error.message) is shown
    assert "s3cret" not in error.message


def test_a_misdirected_request_was_not_acted_on() -> None:
    """421 is *unavailable*, and the request was surely not acted on."""
    error = status_error(Response(421, [], b"", RECEIVED_MS))
    assert (error.kind, error.maybe_sent) == ("unavailable", False) if error is not None else False

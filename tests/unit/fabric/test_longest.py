"""How long an operation may take at the node that offers its integration."""

import pytest

from bridge.core.settings import ResilienceSettings, RetrySettings
from bridge.fabric.offers import longest


@pytest.mark.parametrize(
    ("timeout", "retry", "seconds"),
    [
        (2.0, {"max_attempts": 1}, 2.0),
        (2.0, {"max_attempts": 3, "backoff": "constant", "initial_delay": 1.0}, 8.0),
        (2.0, {"max_attempts": 4, "backoff": "exponential", "initial_delay": 1.0, "max_delay": 3.0}, 14.0),
        (86_400.0, {"max_attempts": 100}, 86_400.0),
    ],
)
def test_all_attempts_and_the_longest_waits(timeout, retry, seconds):
    """Each attempt takes its whole time, and each wait is not shortened by jitter; a day is the most."""
    assert longest(ResilienceSettings(timeout=timeout, retry=RetrySettings(**retry))) == seconds

"""Each test with a `GuardHarness` runs twice: attempts as tasks of the guard, and attempts begun without."""

import pytest

from tests.support.guard.harness import GuardHarness


@pytest.fixture(autouse=True, params=["no", "now"], ids=["task", "promise"])
def promised(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with each way to make attempts."""
    monkeypatch.setattr(GuardHarness, "promised", request.param)

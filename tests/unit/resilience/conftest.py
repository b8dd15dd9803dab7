"""Each test with a `Guarded` runs twice: attempts as tasks of the guard, and attempts begun without."""

import pytest

from tests.support.guard.guarded import Guarded


@pytest.fixture(autouse=True, params=["no", "now"], ids=["task", "promise"])
def promised(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How attempts are made."""
    monkeypatch.setattr(Guarded, "promised", request.param)

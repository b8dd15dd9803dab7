"""Runs `async def` tests, each on an event loop of its own, and property tests without a stopwatch."""

import asyncio
import inspect
import os
import signal
import tempfile

import pytest
from hypothesis import settings

from tests.support.sidecar import fork_server

# An example's time tells of a shared machine and cold caches, not of the code; pytest's time limit ends what hangs.
settings.register_profile("project", deadline=None, parent=settings.default)
settings.load_profile("project")

# A shell lets what it runs in the background ignore it (POSIX, "Asynchronous Lists"); what tests start would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A sidecar without a `data_dir` keeps its outbox in the user's state directory: neither the user's own, nor that of
# another run of the tests.
_state = tempfile.TemporaryDirectory(prefix="nemo-bridge-tests-")
os.environ["XDG_STATE_HOME"] = _state.name

fork_server.allow()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test with `asyncio.run`, which also fails on tasks that outlive it being silently lost."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True

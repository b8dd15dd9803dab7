"""The browser that the tests of a file share, and the event loop on which it and these tests run."""

import asyncio
import inspect
import os
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser

from tests.support.console.browser import chromium, find_chromium


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Keep one event loop: the browser's connection belongs to it, and a browser for each test takes too long."""
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def browser(runner: asyncio.Runner) -> Iterator[Browser]:
    """Run Chromium."""
    program = find_chromium()
    if program is None:
        assert os.environ.get("CI") != "true", "chromium is missing in CI"
        pytest.skip("needs chromium")
    running = chromium(program)
    yield runner.run(running.__aenter__())
    runner.run(running.__aexit__(None, None, None))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the event loop of its file."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or "runner" not in pyfuncitem.funcargs:
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    pyfuncitem.funcargs["runner"].run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True

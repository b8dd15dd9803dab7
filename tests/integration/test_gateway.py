"""`IntegrationGateway` in this process: reloads and the end, where they meet."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.config import Configuration, load
from bridge.core.errors import BusError, ConfigError, InvalidError, StoppingError
from bridge.core.ports import AdapterBase, AdapterSetup
from bridge.gateway import LONGEST_CLOSE, IntegrationGateway
from bridge.outbox import Outbox
from tests.support.adapters.memory_adapter import SPEC, MemoryAdapter, MemoryRemote
from tests.support.wait import until


class Sticky(MemoryAdapter):
    """Takes its time to say goodbye."""

    leaving = 0

    async def disconnect(self) -> None:
        Sticky.leaving += 1
        await super().disconnect()
        await asyncio.Event().wait()


def _sticky(setup: AdapterSetup) -> AdapterBase:
    if setup.integration == "impossible":
        raise ValueError("that cannot work")
    return Sticky(setup)


#: The one adapter of these tests.
ADAPTERS = {"memory": dataclasses.replace(SPEC, create=_sticky)}


Reader = Callable[..., Configuration]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Makes a configuration with integrations of these names."""
    monkeypatch.setattr(MemoryAdapter, "remotes", {"shop": MemoryRemote()})
    monkeypatch.setattr(Sticky, "leaving", 0)

    def configuration(*names: str) -> Configuration:
        file = tmp_path / "bridge.hcl"
        bus = f'bus {{\n  publish = "ipc://{tmp_path}/p"\n  subscribe = "ipc://{tmp_path}/s"\n}}\n'
        one = 'integration "{}" {{\n  type = "memory"\n  endpoint {{\n    address = "shop"\n  }}\n}}\n'
        file.write_text(bus + "".join(one.format(name) for name in names))
        return load([file], adapters=ADAPTERS, environ={})

    return configuration


@asynccontextmanager
async def running(gateway: IntegrationGateway) -> AsyncIterator[asyncio.Task[None]]:
    """The gateway at work; it has ended well in the end."""
    work = asyncio.create_task(gateway.run())
    await until(lambda: work.done() or gateway.status()["bridge"].status == "ready")
    try:
        yield work
    finally:
        gateway.stop("the test is over")
        await work


def states(gateway: IntegrationGateway) -> dict[str, str]:
    """Each integration's state, as `health.bridge` says it."""
    found = gateway.status()["bridge"].integrations
    assert isinstance(found, dict)
    return found


async def test_a_reload_that_reads_while_the_end_comes(read: Reader):
    """It changes nothing any more: what it would have added would never be stopped."""
    reading, may_go_on = threading.Event(), threading.Event()

    def again() -> Configuration:
        reading.set()
        assert may_go_on.wait(10)
        return read("kept", "added")

    gateway = IntegrationGateway(read("kept"), load=again)
    async with running(gateway):
        reload = asyncio.create_task(gateway.reload())
        await until(reading.is_set)
        gateway.stop("now")
        may_go_on.set()
        with pytest.raises(StoppingError):
            await reload
    assert states(gateway) == {"kept": "stopped"}


async def test_the_end_waits_for_a_reload_that_is_carried_out(read: Reader):
    """It comes to its end first, so that what it adds is stopped like the rest."""
    gateway = IntegrationGateway(read("kept", "removed"), load=lambda: read("kept", "added", "more"))
    async with running(gateway):
        await until(lambda: states(gateway) == {"kept": "connected", "removed": "connected"})
        reload = asyncio.create_task(gateway.reload())
        await until(lambda: Sticky.leaving)
        gateway.stop("now")
        plan = await reload
        assert (plan.added, plan.removed) == (["added", "more"], ["removed"])
    assert states(gateway) == dict.fromkeys(("kept", "added", "more"), "stopped")


async def test_a_hangup_while_the_end_comes_is_no_error(read: Reader):
    """SIGHUP has nobody to tell; it is logged."""
    reading, may_go_on = threading.Event(), threading.Event()

    def again() -> Configuration:
        reading.set()
        assert may_go_on.wait(10)
        return read("kept")

    gateway = IntegrationGateway(read("kept"), load=again)
    async with running(gateway):
        gateway.reload_soon()
        await until(reading.is_set)
        gateway.stop("now")
        may_go_on.set()
    gateway.reload_soon()  # and after the end it does nothing


@pytest.mark.parametrize("what", ["complaint", "adapter"])
async def test_a_configuration_that_cannot_be_applied(read: Reader, what: str):
    """Faulty, or of settings that cannot work together: nothing is changed, and the next good one is taken."""

    def again() -> Configuration:
        if faulty and what == "complaint":
            raise ConfigError(["bridge.hcl:3: no"])
        return read("kept", "impossible") if faulty else read("kept", "added")

    gateway = IntegrationGateway(read("kept"), load=again)
    async with running(gateway):
        faulty = True
        with pytest.raises(InvalidError, match=r"bridge\.hcl:3: no" if what == "complaint" else "that cannot work"):
            await gateway.reload()
        assert set(states(gateway)) == {"kept"}
        faulty = False
        assert (await gateway.reload()).unchanged == ["kept"]
        assert set(states(gateway)) == {"kept", "added"}


async def test_without_files_there_is_nothing_to_read_again(read: Reader):
    """`bridge.reload` is `invalid` then."""
    with pytest.raises(InvalidError, match="not started from files"):
        await IntegrationGateway(read()).reload()


async def test_a_start_that_fails(read: Reader):
    """An adapter that cannot be made, or a bus that is taken, is said before anything is opened, and may be mended."""
    with pytest.raises(ConfigError, match="that cannot work"):
        await IntegrationGateway(read("impossible")).run()
    async with running(IntegrationGateway(read("kept"))):
        with pytest.raises(BusError):
            await IntegrationGateway(read("kept")).run()
    async with running(IntegrationGateway(read("kept"))) as work:
        assert not work.done()


async def test_an_outbox_that_cannot_be_closed_does_not_hold_the_end(read: Reader, monkeypatch: pytest.MonkeyPatch):
    """As on a disk that hangs: the end goes on within its limit, and the log says what was cut."""

    async def hang(_: Outbox) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Outbox, "close", hang)
    configuration = read("kept")
    settings = configuration.bridge.model_copy(update={"drain_timeout": 0.1})
    gateway = IntegrationGateway(dataclasses.replace(configuration, bridge=settings))
    with capture_logs() as logs:
        async with running(gateway):
            gateway.stop("now")
            began = time.monotonic()
        assert time.monotonic() - began < 0.1 + LONGEST_CLOSE + 1.0
    assert [line["event"] for line in logs if "outbox" in line["event"]]
    assert gateway.status()["bridge"].status == "stopped"


async def test_a_reload_that_cannot_read_does_not_hold_the_end(read: Reader):
    """Its thread hangs, as on a disk that is gone; the end does not wait for it."""
    reading, may_go_on = threading.Event(), threading.Event()

    def again() -> Configuration:
        reading.set()
        assert may_go_on.wait(20)
        return read("kept")

    configuration = read("kept")
    settings = configuration.bridge.model_copy(update={"drain_timeout": 0.1})
    gateway = IntegrationGateway(dataclasses.replace(configuration, bridge=settings), load=again)
    try:
        async with running(gateway):
            gateway.reload_soon()
            await until(reading.is_set)
            gateway.stop("now")
            began = time.monotonic()
        assert time.monotonic() - began < 0.1 + LONGEST_CLOSE + 1.0
    finally:
        may_go_on.set()


async def test_warnings_of_the_configuration_are_logged(read: Reader):
    """What `nemo-bridge check` warns of is logged at the start, and what a reload adds to it then."""

    def again() -> Configuration:
        return dataclasses.replace(read("kept"), warnings=("the first", "the second"))

    gateway = IntegrationGateway(dataclasses.replace(read("kept"), warnings=("the first",)), load=again)
    with capture_logs() as logs:
        async with running(gateway):
            assert [line["warning"] for line in logs if line["event"] == "configuration"] == ["the first"]
            await gateway.reload()
    assert [line["warning"] for line in logs if line["event"] == "configuration"] == ["the first", "the second"]

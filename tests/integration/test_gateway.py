"""`IntegrationGateway` in this process: reloads and the end, where they meet."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from bridge.config import Configuration, load
from bridge.config.watch import files_state
from bridge.core.diagnostic import Code, Diagnostic, Location
from bridge.core.endpoint import Tls
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
    if setup.integration == "buggy":
        raise ZeroDivisionError
    return Sticky(setup)


#: The one adapter of these tests.
ADAPTERS = {"memory": msgspec.structs.replace(SPEC, create=_sticky)}


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


async def test_a_hangup_before_the_bridge_is_ready(read: Reader):
    """The reload is made as soon as the bridge is ready, since the file may have changed after it was read."""
    gateway = IntegrationGateway(read("kept"), load=lambda: read("kept", "added"))
    gateway.reload_soon()
    async with running(gateway):
        await until(lambda: states(gateway) == {"kept": "connected", "added": "connected"})


@pytest.mark.parametrize("what", ["complaint", "adapter"])
async def test_a_configuration_that_cannot_be_applied(read: Reader, what: str):
    """Faulty, or of settings that cannot work together: nothing is changed, and the next good one is taken."""

    def again() -> Configuration:
        if faulty and what == "complaint":
            raise ConfigError([Diagnostic(Location("bridge.hcl", 3), "", "no", Code.SYNTAX)])
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


async def test_files_that_cannot_be_looked_up_do_not_hold_the_end(read: Reader, monkeypatch: pytest.MonkeyPatch):
    """At the start, too: a file system that hangs leaves the loop free, and the bridge can be stopped."""
    looking, may_go_on = threading.Event(), threading.Event()

    def hang(_: object) -> tuple[()]:
        looking.set()
        assert may_go_on.wait(20)
        return ()

    monkeypatch.setattr("bridge.gateway.file_states", hang)
    gateway = IntegrationGateway(read("kept"))
    work = asyncio.create_task(gateway.run())
    try:
        await until(looking.is_set)
        gateway.stop("now")
        async with asyncio.timeout(5):
            await work
    finally:
        may_go_on.set()


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
    first, second = (Diagnostic(Location("a.hcl", line), "", "odd", Code.UNSAFE, "warning") for line in (1, 2))

    def again() -> Configuration:
        return dataclasses.replace(read("kept"), warnings=(first, second))

    gateway = IntegrationGateway(dataclasses.replace(read("kept"), warnings=(first,)), load=again)
    with capture_logs() as logs:
        async with running(gateway):
            assert [line["warning"] for line in logs if line["event"] == "configuration"] == ["a.hcl:1: odd"]
            await gateway.reload()
    told = [(line["warning"], line["code"]) for line in logs if line["event"] == "configuration"]
    assert told == [("a.hcl:1: odd", "NB035"), ("a.hcl:2: odd", "NB035")]


@pytest.mark.parametrize("bug", [RecursionError("too deep"), KeyError("x"), MemoryError()])
async def test_a_bug_while_reading_is_that_reloads_failure(read: Reader, bug: Exception):
    """It is `invalid` and in the log with its traceback; the bridge goes on, and the next reload succeeds."""
    faults: list[Exception] = [bug]

    def again() -> Configuration:
        if faults:
            raise faults.pop()
        return read("kept", "added")

    gateway = IntegrationGateway(read("kept"), load=again)
    async with running(gateway):
        with capture_logs() as logs, pytest.raises(InvalidError, match=f"because of a bug .{type(bug).__name__}"):
            await gateway.reload()
        assert [line["event"] for line in logs if line.get("exc_info")]
        assert (await gateway.reload()).added == ["added"]


async def test_a_bug_in_an_adapter_is_that_reloads_failure(read: Reader):
    """An adapter that cannot be made, because of a bug, changes nothing."""
    gateway = IntegrationGateway(read("kept"), load=lambda: read("kept", "buggy"))
    async with running(gateway):
        with pytest.raises(InvalidError, match=r"because of a bug .ZeroDivisionError"):
            await gateway.reload()
        assert set(states(gateway)) == {"kept"}


async def test_a_reading_that_never_ends(read: Reader, monkeypatch: pytest.MonkeyPatch):
    """It fails after its time limit and its thread ends; reloads that came meanwhile are answered."""
    monkeypatch.setattr("bridge.gateway._LONGEST_LOAD", 1.0)
    endless = [True]
    threads: list[threading.Thread] = []

    def again() -> Configuration:
        threads.append(threading.current_thread())
        while endless and threads[0] is threading.current_thread():
            pass
        return read("kept", "added")

    gateway = IntegrationGateway(read("kept"), load=again)
    async with running(gateway):
        first, second = asyncio.create_task(gateway.reload()), asyncio.create_task(gateway.reload())
        with pytest.raises(InvalidError, match=r"took more than 1 s"):
            await first
        assert (await second).added == ["added"]
        await until(lambda: not threads[0].is_alive())


async def test_an_empty_configuration(read: Reader):
    """It is refused where the bridge was started with more, and taken where it was not."""
    wanted: list[tuple[str, ...]] = [(), ("kept",), ()]
    gateway = IntegrationGateway(read("kept"), load=lambda: read(*wanted[0]))
    async with running(gateway):
        with pytest.raises(InvalidError, match="most likely a mistake"):
            await gateway.reload()
        assert set(states(gateway)) == {"kept"}
    gateway = IntegrationGateway(read(), load=lambda: read(*wanted.pop(0)))
    async with running(gateway):
        assert (await gateway.reload()).added == []
        assert (await gateway.reload()).added == ["kept"]
        assert (await gateway.reload()).removed == ["kept"]


async def test_a_certificate_that_was_renewed(read: Reader, tmp_path: Path):
    """A reload that finds the same settings, but another file, makes a new session; without a change it does not."""
    file = tmp_path / "ca.pem"
    file.write_text("old")

    def configured() -> Configuration:
        configuration = read("kept")
        one = configuration.integrations["kept"]
        return dataclasses.replace(configuration, integrations={"kept": msgspec.structs.replace(one, tls=Tls(ca=file))})

    gateway = IntegrationGateway(configured(), load=configured)
    async with running(gateway):
        await until(lambda: states(gateway) == {"kept": "connected"})
        assert (await gateway.reload()).unchanged == ["kept"]
        assert Sticky.leaving == 0
        file.write_text("new")
        assert (await gateway.reload()).changed == ["kept"]
        await until(lambda: Sticky.leaving == 1)
        await until(lambda: states(gateway) == {"kept": "connected"})
        assert (await gateway.reload()).unchanged == ["kept"]


async def test_a_dry_run_changes_nothing(read: Reader):
    """It says what a reload would do, and all that is wrong; nothing is opened, changed or logged as reloaded."""
    wanted: list[tuple[str, ...]] = [("kept", "added"), ("impossible", "kept"), ()]
    gateway = IntegrationGateway(read("kept", "removed"), load=lambda: read(*wanted[0]))
    async with running(gateway):
        await until(lambda: states(gateway) == {"kept": "connected", "removed": "connected"})
        with capture_logs() as logs:
            plan = await gateway.reload(dry_run=True)
            assert (plan.added, plan.removed, plan.unchanged) == (["added"], ["removed"], ["kept"])
            assert (plan.integrations.added, plan.integrations.removed) == (["added"], ["removed"])
            for why in ("that cannot work", "most likely a mistake"):
                wanted.pop(0)
                with pytest.raises(InvalidError, match=why):
                    await gateway.reload(dry_run=True)
        assert logs == []
        assert states(gateway) == {"kept": "connected", "removed": "connected"}
        assert Sticky.leaving == 0
        wanted[:] = [("kept", "added")]
        assert await gateway.reload() == plan
        assert (await gateway.configuration()).integrations.keys() == {"kept", "added"}


async def test_a_dry_run_does_not_open_the_outbox(read: Reader, tmp_path: Path):
    """Neither does it make its files."""

    def durable() -> Configuration:
        route = 'route "r" {\n  on = ["a"]\n  integration = "kept"\n  operation = "request"\n  method = "m"\n%s}\n'
        read("kept")
        file = tmp_path / "bridge.hcl"
        file.write_text(file.read_text() + route % '  delivery = "at_least_once"\n')
        return load([file], adapters=ADAPTERS, environ={})

    configuration = read("kept")
    settings = configuration.bridge.model_copy(update={"data_dir": tmp_path / "data"})
    gateway = IntegrationGateway(dataclasses.replace(configuration, bridge=settings), load=durable)
    async with running(gateway):
        assert (await gateway.reload(dry_run=True)).routes.added == ["r"]
        assert not (tmp_path / "data").exists()
        assert (await gateway.reload()).routes.added == ["r"]
        assert (tmp_path / "data").exists()


async def test_what_waits_for_a_restart_stays_masked(read: Reader):
    """A key that came from the environment is a secret in every later plan, too, although the file has it plain now."""
    first = read("kept")
    settings = first.bridge.model_copy(update={"heartbeat": 7.0})
    old = dataclasses.replace(first, bridge=settings, secret_keys=frozenset({("bridge", "heartbeat")}))
    gateway = IntegrationGateway(old, load=lambda: read("kept"))
    async with running(gateway):
        for _ in range(2):
            plan = await gateway.reload()
            assert plan.needs_restart == ["bridge"]
            assert plan.settings == {"bridge": {"heartbeat": ["***", "5s"]}}
        assert (await gateway.configuration()).settings["bridge"]["heartbeat"] == "***"


async def test_files_that_change_are_read_again(read: Reader, tmp_path: Path):
    """Once each time; a faulty one is told once, and everything goes on; nothing happens without a change."""
    file = tmp_path / "bridge.hcl"
    configuration = read("kept")
    loads = []

    def again() -> Configuration:
        loads.append(file.read_text())
        return load([file], adapters=ADAPTERS, environ={})

    gateway = IntegrationGateway(configuration, load=again, files=[file], watch=files_state([file]))
    with capture_logs() as logs:
        async with running(gateway):
            read("kept", "added")
            await until(lambda: set(states(gateway)) == {"kept", "added"})
            good = file.read_text()
            file.write_text(good + "integration {")
            await until(lambda: any(line["event"] == "not reloaded" for line in logs))
            assert set(states(gateway)) == {"kept", "added"}
            (tmp_path / "new").write_text(good.replace('"added"', '"other"'))
            (tmp_path / "new").replace(file)
            await until(lambda: set(states(gateway)) == {"kept", "other"})
            await gateway.reload()  # what was asked for is not done again
            await asyncio.sleep(0)
    assert [line["event"] for line in logs if "reloaded" in line["event"]] == [
        "reloaded",
        "not reloaded",
        "reloaded",
        "reloaded",
    ]
    assert len(loads) == 4


async def test_a_renewed_certificate_is_noticed(read: Reader, tmp_path: Path):
    """Files that the configuration names are watched, too."""
    (tmp_path / "ca.pem").write_text("old")

    def configured() -> Configuration:
        configuration = read("kept")
        one = configuration.integrations["kept"]
        integrations = {"kept": msgspec.structs.replace(one, tls=Tls(ca=tmp_path / "ca.pem"))}
        return dataclasses.replace(configuration, integrations=integrations)

    configuration = configured()
    state = files_state([tmp_path / "bridge.hcl"])
    gateway = IntegrationGateway(
        configuration, load=lambda: configuration, files=[tmp_path / "bridge.hcl"], watch=state
    )
    with capture_logs() as logs:
        async with running(gateway):
            (tmp_path / "ca.pem").write_text("new")
            await until(lambda: Sticky.leaving == 1)
            await until(lambda: any(line["event"] == "reloaded" for line in logs))
    assert [line["integrations"] for line in logs if line["event"] == "reloaded"] == [["~ kept: tls.ca"]]

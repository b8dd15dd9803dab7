"""A subscriber that reads nothing while large messages pass: memory is bounded, and other clients do not notice."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.bus.bus import CurveKeys, Peer
from tests.support.bus.curve import KeyRing
from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory

_SIZE = 1_000_000
_COUNT = 250
_BATCH = 10
_GROWTH = 150_000_000


@contextmanager
def _sidecar(ring: KeyRing | None) -> Iterator[Sidecar]:
    """A sidecar that hosts an open bus, or a closed one."""
    with short_directory() as directory:
        curve = ""
        if ring is not None:
            curve = f'curve {{\n secret_key = "{ring.secret_key}"\n authorized_keys = "{ring.authorized}"\n}}'
        running = Sidecar(directory, f"bridge {{\n status = null\n}}\n{bus_block(directory, curve)}")
        try:
            while "ready" not in running.text:
                assert running.process.poll() is None, running.text
                time.sleep(0.01)
            yield running
        finally:
            running.kill()
        assert "Traceback" not in running.text, running.text


def _rejections(peer: Peer) -> set[str]:
    return {e["payload"]["reason"] for e in peer.received() if e["event_type"] == "resilience.bus.rejected"}


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
async def test_stuck_while_large_messages_pass(tmp_path: Path, closed: bool) -> None:
    """Of 250 MB, a reader gets every byte; a subscriber that reads nothing costs less than 150 MB, and is reported."""
    ring = KeyRing(tmp_path / "keys") if closed else None
    keys: CurveKeys | None = None if ring is None else ring.listed("app")
    with (
        _sidecar(ring) as running,
        Peer(running.publish, running.subscribe, "video.", "response.bridge.ping", keys=keys) as app,
        Peer(running.publish, running.subscribe, "resilience.", keys=keys) as watcher,
        Peer(running.publish, running.subscribe, keys=keys) as stuck,
    ):
        stuck.sub.rcvhwm = 1
        stuck.sub.subscribe("video.")
        await app.send_until(lambda: bool(app.received()), "video.start")
        await app.send_until(lambda: bool(stuck.received()), "video.start")
        before = peak = running.rss
        got = 0
        frame = app.event("video.frame", b"x" * _SIZE)
        for _ in range(_COUNT // _BATCH):
            for _ in range(_BATCH):
                app.raw(b"video.frame", frame)
            # The sidecar reads everything, too; the answer says that it has come so far, and holds up nothing itself.
            app.send("bridge.ping", correlation_id="ping")
            answered = False
            while not answered or got % _BATCH:
                assert app.sub.poll(20_000), f"{got} came"
                event_type = app.sub.recv_multipart()[0]
                got += event_type == b"video.frame"
                answered = answered or event_type == b"response.bridge.ping"
            peak = max(peak, running.rss)
        assert got == _COUNT
        assert peak - before < _GROWTH
        told: set[str] = set()
        end = time.monotonic() + 10
        while "stuck" not in told:
            assert time.monotonic() < end
            told |= _rejections(watcher)
        # It wakes up, is connected again, and hears what is said from then on.
        await stuck.send_until(lambda: any(e["event_type"] == "video.again" for e in stuck.received()), "video.again")


async def test_who_pauses_is_not_stuck() -> None:
    """Bursts of small messages never disconnect anybody: their number bounds them."""
    with (
        _sidecar(None) as running,
        Peer(running.publish, running.subscribe, "resilience.") as app,
        Peer(running.publish, running.subscribe, "small.") as slow,
    ):
        await app.send_until(lambda: bool(slow.received()), "small.first")
        for _ in range(100_000):
            app.send("small.event", "x" * 800)
        await app.send_until(lambda: any(e["event_type"] == "small.last" for e in slow.received()), "small.last")
        assert "stuck" not in _rejections(app)

"""Start sidecars one after the other over one data folder, so that each finds what the one before has left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.sidecar.sidecar import Sidecar, bus_block, short_directory


@contextmanager
def restarts(text: str, *, more: str = "") -> Iterator[Callable[[], Sidecar]]:
    """Give a function that starts a sidecar; each call ends the one before by SIGKILL, if it still runs.

    Args:
        text: The configuration beside its `bridge` and `bus` blocks.
        more: What else stands in the `bridge` block.
    """
    with short_directory() as place:
        running: list[Sidecar] = []

        def start() -> Sidecar:
            if running:
                running[-1].kill()
            whole = f'bridge {{\n  data_dir = "{place}/data"\n  {more}\n}}\n{bus_block(place)}\n{text}'
            running.append(Sidecar(place, whole))
            return running[-1].ready()

        try:
            yield start
        finally:
            if running:
                running[-1].kill()
                assert "Traceback" not in running[-1].text, running[-1].text

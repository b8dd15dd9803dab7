"""Notice that the files of a configuration have changed: written, replaced, added, removed, or a link that was moved.

The files are looked at again and again. That works on every file system, also where changes are not announced
(network file systems, mounts of a container), and for each way in which editors and deployments replace files.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from bridge.config.diagnostics import Diagnostics
from bridge.config.hcl import find_files
from bridge.core.files import identity
from bridge.core.ports import Clock

FileState = tuple[int, ...] | None
"""What identifies the content of a file (`core.files.identity`); None where it is missing or not accessible."""
FolderState = tuple[tuple[str, FileState], ...]
"""The state of all files of a configuration, by their paths."""

#: Seconds between two looks.
_EVERY: Final = 0.5
#: Looks that a missing file may take to come back: whoever writes a file may first remove it.
_MISSING_LOOKS: Final = 6


def files_state(paths: Sequence[Path]) -> FolderState:
    """Return the state of the files that `load` would read.

    It looks each file up, which may take long where a file system does not answer: call it in a thread.

    Args:
        paths: Files, or directories of `*.hcl`.
    """
    return tuple((str(path), _state(path)) for path in find_files(paths, Diagnostics()))


def _state(path: Path) -> FileState:
    try:
        return identity(path.stat())
    except (OSError, ValueError):
        return None


class Watch:
    """Calls back when what it looks at has changed and is at rest again."""

    def __init__(
        self,
        look: Callable[[], Awaitable[object]],
        known: Callable[[], object],
        on_change: Callable[[], Awaitable[None]],
        *,
        incomplete: Callable[[object], bool] = lambda _: False,
        clock: Clock,
    ) -> None:
        """Create it; nothing happens before `run`.

        Args:
            look: Returns the state now.
            known: Returns the state that was dealt with last.
            on_change: Deals with a change; when it returns, `known` must return the state that it found.
            incomplete: Whether a state is likely to be followed by another one soon.
            clock: For all waiting.
        """
        self._look = look
        self._known = known
        self._on_change = on_change
        self._incomplete = incomplete
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled. A change is dealt with once two looks in a row have found the same."""
        last: object = None
        looks = 0
        while True:
            await self._clock.sleep(_EVERY)
            now = await self._look()
            if now == self._known():
                last = None
                continue
            looks = looks + 1 if now == last else 0
            last = now
            if looks >= (_MISSING_LOOKS if self._incomplete(now) else 1):
                await self._on_change()
                last = None

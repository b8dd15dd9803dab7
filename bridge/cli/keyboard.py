"""Read single keys from the terminal."""

import asyncio
import codecs
import contextlib
import os
import re
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any, Final

from bridge.core.errors import InvalidError

#: What terminals send for keys that are no characters: the sequences of xterm (ECMA-48 CSI and SS3), and C0 controls.
_KEYS: Final = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[C": "right",
    "\x1bOC": "right",
    "\x1b[D": "left",
    "\x1bOD": "left",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b[Z": "back tab",
    "\x1b": "escape",
    "\t": "tab",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
#: One key: a whole escape sequence, or one character.
_KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)
#: The beginning of an escape sequence whose rest has not come yet. Only that is held back.
_BEGUN: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")
#: Seconds to wait for the rest of a sequence; after them the Escape key was pressed.
_REST: Final = 0.05
_AT_ONCE: Final = 1024


class KeyDecoder:
    """Turn what a terminal sends into names of keys: characters stand for themselves, others are `up`, `enter`, …."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("ignore")
        self._text = ""

    @property
    def waits(self) -> bool:
        """Whether the beginning of a sequence is held back."""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are complete."""
        text = self._text + self._decode.decode(data)
        begun = _BEGUN.search(text)
        self._text = "" if begun is None else begun[0]
        return _keys(text.removesuffix(self._text))

    def flush(self) -> list[str]:
        """Return what was held back: no more of it came."""
        text, self._text = self._text, ""
        return _keys(text)


def _keys(text: str) -> list[str]:
    found = (_KEYS.get(one, one) for one in _KEY.findall(text))
    return [key for key in found if key.isprintable()]


class Keyboard:
    """The keys that are pressed at the terminal of standard input, one by one and without echo."""

    def __init__(self) -> None:
        self._keys: asyncio.Queue[str | None] = asyncio.Queue()
        self._decoder = KeyDecoder()
        self._input = sys.stdin.fileno()
        self._before: list[Any] | None = None
        self._flushing: asyncio.TimerHandle | None = None

    async def get(self) -> str | None:
        """Return the next key; None when the terminal is gone."""
        return await self._keys.get()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Read keys inside the context; the terminal is as before after it.

        Raises:
            InvalidError: Standard input is not a terminal.
        """
        loop = asyncio.get_running_loop()
        self.take()
        loop.add_reader(self._input, self._read)
        try:
            yield
        finally:
            loop.remove_reader(self._input)
            if self._flushing is not None:
                self._flushing.cancel()
            self.give_back()

    def take(self) -> None:
        """Let the terminal pass each key at once.

        Raises:
            InvalidError: Standard input is not a terminal.
        """
        try:
            self._before = termios.tcgetattr(self._input)
            tty.setcbreak(self._input)
        except termios.error as error:
            raise InvalidError(f"standard input is not a terminal: {error.args[-1]}") from None

    def give_back(self) -> None:
        """Leave the terminal as it was."""
        if self._before is not None:
            with contextlib.suppress(termios.error):  # it may be gone
                termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        try:
            data = os.read(self._input, _AT_ONCE)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._input)
            self._keys.put_nowait(None)
            return
        self._put(self._decoder.feed(data))
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._decoder.waits:
            self._flushing = asyncio.get_running_loop().call_later(_REST, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        self._put(self._decoder.flush())

    def _put(self, keys: list[str]) -> None:
        for key in keys:
            self._keys.put_nowait(key)

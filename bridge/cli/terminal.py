"""Write to the terminal: every command prints by these functions, so that nothing that others wrote controls it."""

import codecs
import contextlib
import errno
import importlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO, cast

import typer
from typer.core import TyperGroup

from bridge.cli.exit_codes import ExitCode
from bridge.core.bytes_object import bytes_object
from bridge.core.lean import without_classes
from bridge.core.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console

#: What writing raises where the device or the reader takes no more; see write(2).
_OUTPUT_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE})


#: What typer raises where arguments are wrong: the class that all of these errors have in common.
_UsageError: Final = cast("type[Exception]", typer.BadParameter.__mro__[1])


class Commands(TyperGroup):
    """Commands whose complaints about their arguments are printable: typer repeats in them what was given."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the arguments before the command's name."""
        with _printable_complaints():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the command's own arguments, and run it."""
        with _printable_complaints():
            return super().invoke(ctx)


@contextlib.contextmanager
def _printable_complaints() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        complaint: Any = error
        complaint.message = printable(complaint.message)
        raise


def say(text: object, *, err: bool = False) -> None:
    """Print text of one or several lines to standard output, or to standard error.

    Raises:
        OSError: It cannot be written.
    """
    typer.echo(printable(str(text), keep="\n\t"), err=err)


def complain(message: object) -> None:
    """Print an error as one line on standard error, whatever its message holds."""
    typer.echo(f"nemo-bridge: {printable(str(message))}", err=True)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that is safe to print; beyond ASCII only where standard output is UTF-8.

    Bytes are objects with one key, as on the bus: see `core.bytes_object`.

    Raises:
        TypeError: It has keys or values that JSON lacks.
    """
    ascii_only = not _is_utf8(sys.stdout)
    return printable_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent, default=bytes_object))


def console(*, soft_wrap: bool = False) -> "Console":
    """Return a console of `rich` for standard output, without highlighting of its own.

    What others wrote must be `printable` before it is printed there.

    Args:
        soft_wrap: Leave the wrapping of long lines to the terminal.
    """
    from rich.console import Console  # noqa: PLC0415 - not all commands need it

    return Console(highlight=False, soft_wrap=soft_wrap)


def failure(message: object, code: ExitCode = ExitCode.FAILED) -> typer.Exit:
    """Print an error as `complain` does, and return what ends the command with this exit code."""
    complain(message)
    return typer.Exit(code)


def prepare() -> None:
    """Prepare the process for a command that talks to a person.

    Standard output escapes what its encoding lacks, as standard error does already. SIGTERM ends the command as Ctrl-C
    does, so that the terminal is left as it was; a command that stops in order sets a handler of its own. The traceback
    of a crash is printable: its error may quote what others wrote.
    """
    sys.excepthook = _crashed
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)


def prepare_help() -> None:
    """Import what lays out `--help`, without Markdown and tracebacks, which take a quarter of its time."""
    with contextlib.suppress(ImportError), without_classes("rich.markdown.Markdown", "rich.traceback.Traceback"):
        importlib.import_module("typer.rich_utils")


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say("".join(traceback.format_exception(kind, error, trace)).rstrip(), err=True)


def _terminate(_: int, __: object) -> NoReturn:
    raise SystemExit(ExitCode.TERMINATED)


@contextlib.contextmanager
def output_written() -> Iterator[None]:
    """Write out standard output at the end of the body; where that is impossible, say so and exit with 1.

    Raises:
        SystemExit: Standard output cannot be written, in the body or at its end.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        _abandon_output()
        if error.errno != errno.EPIPE:  # whoever reads has enough: nothing to complain about
            complain(f"the output cannot be written: {error.strerror}")
        sys.exit(ExitCode.FAILED)


def _abandon_output() -> None:
    """Send standard output nowhere, so that the end of the process does not fail on what is still to be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _is_utf8(stream: TextIO) -> bool:
    return codecs.lookup(stream.encoding or "ascii").name == "utf-8"

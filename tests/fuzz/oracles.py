"""What must hold for any input whatever: one function for each target, which raises where something does not.

Also run, without a fuzzer, over the corpus by `tests/faults/test_corpus.py`.
"""

import contextlib
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bridge.bus.codec import Codec
from bridge.bus.reference import decode_reference
from bridge.bus.rejection import DEFAULT_LIMITS, Rejected
from bridge.config import load
from bridge.config.compiler import Compiler, Names
from bridge.config.diagnostics import Fault
from bridge.config.expression_parser import parse_expression
from bridge.core.errors import ConfigError, InvalidError
from bridge.core.model import Event
from bridge.registry import AdapterRegistry

#: First byte of an input that names its first frame, too, up to a zero byte; MessagePack itself never uses it.
NAMES_ITS_FRAME: Final = 0xC1
_FRAME: Final = b"order.paid"
_DIAGNOSTIC: Final = re.compile(r"[^\n]*fuzz\.hcl(:\d+)?: [^\n]+")
_ENVIRON: Final = {"TOKEN": "a-secret-of-the-environment", "N": "7"}


class BrokenError(Exception):
    """Raised where something that must hold does not."""


def _must(condition: object, what: str) -> None:
    if not condition:
        raise BrokenError(what)


# --- the codec


def codec(data: bytes) -> None:
    """Check that both decoders agree and raise only `Rejected`, and that encoding what was decoded changes nothing."""
    frame, body = _FRAME, data
    if data[:1] == bytes([NAMES_ITS_FRAME]):
        frame, _, body = data[1:].partition(b"\0")
    coder = Codec()
    fast = coder._fast(body)
    try:
        exact: Event | None = decode_reference(body, DEFAULT_LIMITS)
    except Rejected as rejected:
        exact = None
        _must(rejected.detail and "\n" not in rejected.detail, "a rejection without words")
    _must(fast is None or exact is not None, "the fast lane took what the reference lane refuses")
    if fast is not None and exact is not None:
        _must(_fields(fast) == _fields(exact), "the two lanes read different events")
    if exact is not None and data[:1] != bytes([NAMES_ITS_FRAME]):
        with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate cannot stand in a frame
            frame = exact.event_type.encode()
    try:
        event = coder.decode(frame, body)
    except Rejected:
        return
    _comes_back(coder, event)


def _fields(event: Event) -> tuple[Any, ...]:
    # repr tells 1 from 1.0 and lets NaN be equal to itself.
    return (
        event.id,
        event.event_type,
        repr(event.payload),
        bytes(event.raw),
        event.timestamp,
        event.source,
        event.correlation_id,
        event.headers,
    )


def _comes_back(coder: Codec, event: Event) -> None:
    try:
        frames = coder.encode(
            event.event_type,
            event.payload,
            event_id=event.id,
            timestamp=event.timestamp,
            source=event.source,
            correlation_id=event.correlation_id,
            headers=event.headers,
        )
    except InvalidError:
        return  # NaN, keys that are no strings: read from others, never encoded by us
    again = coder.decode(*frames)
    _must(_fields(again)[:3] + _fields(again)[4:] == _fields(event)[:3] + _fields(event)[4:], "no round trip")


# --- the configuration


def hcl(data: bytes) -> None:
    """Check that a file gives a configuration, or diagnostics of one line each, with file and line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fuzz.hcl"
        file.write_bytes(data)
        try:
            configuration = load([file], adapters=AdapterRegistry(), environ=_ENVIRON)
        except ConfigError as error:
            _must(error.diagnostics, "a refusal without a diagnostic")
            for line in map(str, error.diagnostics):
                _must(_DIAGNOSTIC.fullmatch(line), f"a diagnostic of another form: {line!r}")
                _must(_ENVIRON["TOKEN"] not in line, f"a diagnostic that holds a secret: {line!r}")
        else:
            _must(_ENVIRON["TOKEN"] not in repr(configuration.integrations), "a configuration that shows a secret")


# --- expressions

_EVENTS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"payload": None, "headers": None, "source": None, "type": "a.b", "id": 1, "timestamp": 2, "correlation_id": None},
    {
        "payload": {
            "a": 1,
            "b": 2.5,
            "s": "text é",
            "l": [1, "x", None, [True]],
            "m": {"k": {"k": -7}},
            "big": (1 << 64) - 1,
            "small": -(1 << 63),
            "bytes": b"\xff",
            "nan": math.nan,
            "inf": math.inf,
            "zero": 0,
            "long": "x" * 5000,
        },
        "headers": {"traceparent": "00-1"},
        "source": "app",
        "type": "order.paid",
        "id": 1,
        "timestamp": 1 << 40,
        "correlation_id": "c",
    },
    {"payload": [1, 2, {"a": "b"}], "type": "x", "id": 0, "timestamp": 0, "source": "", "correlation_id": ""},
    {"payload": "a,b,c", "type": "x", "id": 0, "timestamp": 0, "source": "", "correlation_id": ""},
)


def expressions(data: bytes) -> None:
    """Check that compiling gives an expression or a fault, and evaluating a value or `InvalidError`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    for root in ("event", None):
        compiler = Compiler(Names(_ENVIRON, {}), root)
        try:
            expression = compiler.compile(parse_expression(text, 1))
        except Fault as fault:
            _must(fault.message, "a fault without words")
            continue
        if compiler.faults:
            continue
        for event in _EVENTS:
            with contextlib.suppress(InvalidError):
                expression.evaluate({"event": event})


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"codec": codec, "hcl": hcl, "expressions": expressions}


# --- the corpus

CORPUS: Final = Path(__file__).parents[2] / "tests" / "faults" / "corpus"
_EXAMPLES: Final = Path(__file__).parents[2] / "examples"


def corpus(target: str) -> Iterator[tuple[str, bytes]]:
    """The inputs that are kept for a target, each with a name: where it stands."""
    if target == "hcl":
        for file in (*sorted((CORPUS / "hcl").glob("*.hcl")), *sorted(_EXAMPLES.glob("*.hcl"))):
            yield file.name, file.read_bytes()
        return
    lines = (CORPUS / f"{target}.txt").read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        data = bytes.fromhex(line.split()[1].strip("-")) if target == "codec" else line.encode()
        yield f"{target}.txt:{number}", data

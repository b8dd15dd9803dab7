"""Return and deliver fixed values: `type = "static"`.

The values are written in the configuration, or in a file that is read together with it. So `nemo-bridge check` reports
what is wrong with the file, a reload notices that it has changed, and a session cannot fail. A reload that changes
anything of the integration makes a new session, so all values are delivered again, also those that are the same.
"""

import csv
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, PrivateAttr
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from bridge.adapters._common.json import check_value, encode
from bridge.core.endpoint import Strict
from bridge.core.errors import BridgeError, InvalidError, NotConnectedError, NotSupportedError, RejectedError
from bridge.core.files import read_regular
from bridge.core.model import Command, Inbound, Request
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    AdapterSpec,
    Context,
    Deliver,
    Subscription,
    SubscriptionOptions,
    refuse_group,
)

PROTOCOL: Final = "static"
#: The topic that means every key.
ALL: Final = "*"
#: Bytes of a file of values; and of one in YAML, of which ruamel.yaml reads some 70 kB a second, or half with aliases.
_LARGEST: Final = 16 << 20
_LARGEST_YAML: Final = 256 << 10
#: Values that the aliases of a file repeat in all.
_MOST_REPEATED: Final = 100_000
#: What ruamel.yaml raises where a value is not as its tag says, as in `!!bool x`.
_YAML_BUGS: Final = (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
#: The one method.
GET: Final = "get"


class StaticConfig(Strict):
    """`config { … }` of a static integration: `values` or `file`."""

    values: Annotated[
        dict[str, Any] | None, Field(description="A map of key → value. Give either `values` or `file`.")
    ] = None
    file: Annotated[
        Path | None,
        Field(
            description="A file of values, read at start and at each reload: `.json` or `.yaml` (1.2) with a map of "
            "key → value; or `.csv` with a header, whose first column is the key. With one more column its text is the "
            "value, with several the value is a map of column → text."
        ),
    ] = None
    # Private attributes count when two configurations are compared, so a reload sees that a file has changed.
    _read: dict[str, Any] = PrivateAttr(default_factory=dict)

    def model_post_init(self, _context: Any) -> None:
        """Read the file. Raises ValueError where it cannot be read, or holds what the bus cannot carry."""
        if (self.values is None) == (self.file is None):
            raise ValueError("give either `values` or `file`")
        read = self.values if self.file is None else _read_file(self.file)
        try:
            check_value(read, "values")
            encode(read, "values")
        except InvalidError as error:
            raise ValueError(error.message) from None
        self._read.update(read or {})

    @property
    def content(self) -> Mapping[str, Any]:
        """Return key → value, from `values` or `file`."""
        return self._read


def _read_file(path: Path) -> dict[str, Any]:
    readers = {".json": _json_values, ".yaml": _yaml_values, ".yml": _yaml_values, ".csv": _csv_values}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"`file` must be named *.json, *.yaml or *.csv, not {path.name}")
    try:
        return reader(read_regular(path, _LARGEST_YAML if reader is _yaml_values else _LARGEST).decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"`file` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("`file` is not UTF-8") from None
    except RecursionError:
        raise ValueError("`file` is nested too deeply") from None


def _json_values(text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"`file` has a key twice: {next(name for name in names if names.count(name) > 1)!r}")
        return found

    try:
        values = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"`file` is not JSON: {error}") from None
    return _as_map(values)


def _yaml_values(text: str) -> dict[str, Any]:
    try:
        if "*" in text:
            _check_aliases(text)
        # The pure loader knows YAML 1.2, where `NO` is a text and `12:30` no number of minutes.
        values = YAML(typ="safe", pure=True).load(text)
    except _YAML_BUGS as error:
        raise ValueError(f"`file` holds a value that is not as its tag says ({type(error).__name__})") from None
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        place = "" if mark is None else f", line {mark.line + 1}"
        problem = error.problem if isinstance(error, MarkedYAMLError) else str(error).splitlines()[0]
        raise ValueError(f"`file`{place}: {problem}") from None
    return _as_map(values)


def _check_aliases(text: str) -> None:
    """Raise ValueError where aliases repeat so much that a small file becomes endless values; or YAMLError."""
    sizes: dict[str, int] = {}  # of what has an anchor, in values
    inside: list[list[Any]] = []  # the anchor and the size of each collection that is not complete yet
    repeated = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, AliasEvent):
            anchor, size = None, sizes.get(event.anchor, 1)
            repeated += size
            if repeated > _MOST_REPEATED:
                raise ValueError(f"`file` repeats more than {_MOST_REPEATED} values by aliases")
        elif isinstance(event, ScalarEvent):
            anchor, size = event.anchor, 1 + len(event.value) // 64  # a long text weighs more
        elif isinstance(event, CollectionStartEvent):
            inside.append([event.anchor, 1])
            continue
        elif isinstance(event, CollectionEndEvent):
            anchor, size = inside.pop()
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if inside:
            inside[-1][1] += size


def _as_map(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError("`file` must hold a map of key → value")  # noqa: TRY004  # data, not a bug
    return values


def _csv_values(text: str) -> dict[str, Any]:
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    values: dict[str, Any] = {}
    try:
        header = next(rows, [])
        if len(header) < 2 or len(set(header)) < len(header):
            raise ValueError("`file` needs a header of at least two columns, each with a name of its own")
        for row in rows:
            if not row:
                continue
            key, *cells = row
            if len(row) != len(header):
                raise ValueError(f"`file`, line {rows.line_num}: {len(row)} columns, the header has {len(header)}")
            if key in values:
                raise ValueError(f"`file`, line {rows.line_num}: has the key {key!r} for the second time")
            values[key] = cells[0] if len(cells) == 1 else dict(zip(header[1:], cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"`file`, line {rows.line_num}: {error}") from None
    return values


class StaticAdapter(AdapterBase):
    """Serve the values of one integration; see `ports.ProtocolAdapter`."""

    protocol = PROTOCOL

    def __init__(self, setup: AdapterSetup) -> None:
        """Take the values. Raises ValueError where there is no `config` block."""
        if not isinstance(setup.config, StaticConfig):
            raise ValueError("`static` needs a `config` block with `values` or `file`")  # noqa: TRY004  # the port's error
        self._values = setup.config.content
        self._open = False

    async def connect(self) -> None:
        """Begin the session; the values were read with the configuration."""
        self._open = True

    async def disconnect(self) -> None:
        """End the session."""
        self._open = False

    async def check(self) -> None:
        """Check that there is a session; there is no remote to ask. Raises NotConnectedError."""
        self._need_open()

    def _need_open(self) -> None:
        if not self._open:
            raise NotConnectedError("there is no session")

    def is_idempotent(self, command: Command) -> bool:
        """Return True for `get`: reading changes nothing."""
        return isinstance(command, Request)

    async def request(self, command: Request, context: Context) -> Any:  # noqa: ARG002
        """Do `get` with `{key}`: return the value.

        Raises:
            InvalidError: `params` is not `{key}`.
            NotSupportedError: There is no such method.
            RejectedError: There is no such key; with code `not_found`.
        """
        self._need_open()
        method, params = command.method, command.params
        error: BridgeError | None = None
        if method != GET:
            error = _no_method(method)
        elif not isinstance(params, dict) or params.keys() != {"key"} or not isinstance(params["key"], str):
            error = InvalidError('params: `get` takes {"key": text}')
        elif params["key"] not in self._values:
            error = RejectedError(f"there is no key {params['key']!r}", code="not_found")
        if command.notify:
            return None
        if error is not None:
            raise error
        return self._values[params["key"]]

    async def subscribe(
        self,
        topic: str,
        deliver: Deliver,
        options: SubscriptionOptions = NO_OPTIONS,  # noqa: ARG002
    ) -> Subscription:
        """Deliver the value of a key, or of all keys (`*`), once, before this returns.

        Raises:
            InvalidError: There is no such key.
        """
        self._need_open()
        _check_key(topic, self._values)
        for key in list(self._values) if topic == ALL else [topic]:
            # It is a last value: later subscribers get it, too.
            await deliver(Inbound(topic=key, message=self._values[key], retained=True))
        return Subscription(topic)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Do nothing: all values were delivered by `subscribe`."""


def check_names(operation: str, name: str, group: str | None, config: Any) -> None:
    """Check that there is such a method, or such a key to subscribe to; see `ports.NameCheck`."""
    if operation != "request":
        refuse_group(PROTOCOL, group)
        _check_key(name, config.content)
    elif name != GET:
        raise _no_method(name)


def _check_key(key: str, values: Collection[str]) -> None:
    if key != ALL and key not in values:
        raise InvalidError(f"topic: there is no key {key!r}")


def _no_method(method: str) -> NotSupportedError:
    return NotSupportedError(f"method: `static` has no {method!r}; there is `{GET}`")


SPEC: Final = AdapterSpec(
    protocol=PROTOCOL,
    summary="fixed values, from the configuration or a JSON, YAML or CSV file",
    operations=frozenset({"request", "subscribe", "unsubscribe"}),
    auth=frozenset({"none"}),
    config=StaticConfig,
    schemes={},
    create=StaticAdapter,
    needs_endpoint=False,
    check_names=check_names,
    unfit_for_lease=lambda *_: "each bridge emits its values once, when it begins",
)

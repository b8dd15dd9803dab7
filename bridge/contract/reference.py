"""Makes the reference pages of the documentation, `docs/reference/`, from the models and the tables of the code."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel

from bridge.config import FUNCTIONS
from bridge.config.case_models import CaseBlock
from bridge.config.explanations import EXPLANATIONS
from bridge.config.models import (
    AUTH_MODELS,
    BridgeSettings,
    BusSettings,
    FabricBlock,
    LogSettings,
    RouteBlock,
    SubscriptionBlock,
    VariableBlock,
)
from bridge.config.options import Option, options, summary
from bridge.contract.catalogue import CHANNELS, MESSAGE_TYPES
from bridge.contract.schemas import documents
from bridge.core.endpoint import Endpoint, Tls
from bridge.core.errors import BridgeError, ErrorKind
from bridge.core.ports import AdapterSpec
from bridge.core.settings import HealthSettings, ResilienceSettings
from bridge.resilience.classify import CountsAs, classify
from bridge.resilience.retry import may_retry

_GENERATED: Final = "<!-- Written by scripts/schemas from the models in bridge/; changes here are lost. -->\n\n"
_UNITS: Final = """\
A **duration** is written `"250ms"`, `"30s"`, `"2m"` or `"1h"`; a bare number is seconds. A **size** is written
`"64KiB"` or `"1MiB"`; a bare number is bytes. A **rate** is written `"100/s"` or `"30/m"`; a bare number is per second.
Each is more than 0, unless its type says something else. A **path** that is relative starts at the file that names it.

"""
_BLOCKS: Final[Mapping[str, type[BaseModel]]] = {
    "bridge": BridgeSettings,
    "log": LogSettings,
    "bus": BusSettings,
    'variable "name"': VariableBlock,
}
_PARTS: Final[Mapping[str, type[BaseModel]]] = {
    "endpoint": Endpoint,
    "tls": Tls,
    "resilience": ResilienceSettings,
    "health": HealthSettings,
}
_ROUTING: Final[Mapping[str, type[BaseModel]]] = {
    'route "name"': RouteBlock,
    'subscription "name"': SubscriptionBlock,
    'fabric "name"': FabricBlock,
    'test "name"': CaseBlock,
}


def reference(adapters: Mapping[str, AdapterSpec]) -> dict[str, str]:
    """Return the text of each page by its name; the same models give the same bytes.

    Args:
        adapters: The adapters that have a section in the page of protocols, by protocol.
    """
    pages = {
        "configuration.md": _configuration(adapters),
        "protocols.md": _protocols(adapters),
        "functions.md": _functions(),
        "diagnostics.md": _diagnostics(),
        "errors.md": _errors(),
        "events.md": _events(documents(adapters)),
    }
    return {name: "".join(parts).rstrip() + "\n" for name, parts in pages.items()}


def _page(title: str, text: str) -> str:
    return f"{_GENERATED}# {title}\n\n{text}\n\n"


def _configuration(adapters: Mapping[str, AdapterSpec]) -> Iterator[str]:
    yield _page(
        "Keys of the configuration",
        "Every block and every key, with its default. Blocks of other programs are left alone.",
    )
    yield _UNITS
    for name, model in _BLOCKS.items():
        yield from _block(name, model, 2)
    yield '## `integration "name" { … }`\n\nA remote that the bridge is connected with.\n\n'
    kinds = ", ".join(f"`{name}`" for name in sorted(adapters))
    rows = [
        ("`type`", f"one of {kinds}", "required", "The protocol; see [Protocols](protocols.md)."),
        ("`endpoint`", "block", "", "Where the remote is."),
        ("`auth`", "block", "", "What proves to the remote who we are."),
        ("`tls`", "block", "", "How the remote's certificate is checked."),
        ("`config`", "block", "", "What only this protocol has; see [Protocols](protocols.md)."),
        ("`resilience`", "block", "", "Time limit, retries, circuit breaker and limits."),
        ("`health`", "block", "", "How the connection is checked."),
    ]
    yield from _table(("key", "type", "default", "meaning"), rows)
    for name, model in _PARTS.items():
        yield from _block(name, model, 3)
        if name == "endpoint":
            yield "### `auth { … }`\n\nWhat proves to the remote who we are. Its keys depend on `type`.\n\n"
            for kind, model_of_kind in AUTH_MODELS.items():
                yield f'#### `auth {{ type = "{kind}" }}`\n\n{summary(model_of_kind)}\n\n'
                yield from _keys(options(model_of_kind))
    for name, model in _ROUTING.items():
        yield from _block(name, model, 2)


def _block(name: str, model: type[BaseModel], level: int) -> Iterator[str]:
    yield f"{'#' * level} `{name} {{ … }}`\n\n{summary(model)}\n\n"
    yield from _contents(model, level)


def _contents(model: type[BaseModel], level: int) -> Iterator[str]:
    keys = options(model)
    yield from _keys(keys)
    for key in keys:
        if key.block is not None:
            label = ' "name"' if key.kind == "blocks with a label" else ""
            yield from _block(f"{key.name}{label}", key.block, level + 1)


def _keys(keys: Iterable[Option]) -> Iterator[str]:
    rows = [(f"`{key.name}`", key.kind, _default(key), key.description) for key in keys]
    yield from _table(("key", "type", "default", "meaning"), rows)


def _default(key: Option) -> str:
    if key.required:
        return "required"
    return "" if key.default is None else f"`{key.default}`"


def _protocols(adapters: Mapping[str, AdapterSpec]) -> Iterator[str]:
    yield _page("Protocols", "What each `type` of an integration can do, and the keys of its `config` block.")
    yield _UNITS
    for name in sorted(adapters):
        spec = adapters[name]
        yield f"## `{name}`\n\n{spec.summary[:1].upper()}{spec.summary[1:]}.\n\n"
        rows = [("operations", _code(sorted(spec.operations)))]
        for other in spec.transports:
            more = sorted(other.operations - spec.operations)
            rows.append((f"over {_code(other.schemes)} also", _code(more)))
        rows.append(("`auth`", _code(sorted(spec.auth | {"none"}))))
        if spec.needs_endpoint:
            ports = {scheme: one.schemes[scheme] for scheme, one in spec.by_scheme().items()}
            schemes = [f"`{scheme}` ({port}{', TLS' if tls else ''})" for scheme, (port, tls) in ports.items()]
            rows.append(("schemes, with their default ports", ", ".join(schemes)))
        yield from _table(("", ""), rows)
        yield f"### `config` of `{name}`\n\n"
        yield from _contents(spec.config, 3)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _functions() -> Iterator[str]:
    yield _page(
        "Functions in expressions",
        "What an expression of the configuration can call. A value that a function cannot take is an error of that one "
        "event or message (`invalid`), never of the bridge.",
    )
    rows = [("`has(path)`", "whether there is a value at a path, as in `has(event.payload.id)`")]
    for name, function in FUNCTIONS.items():
        count = str(function.least) if function.least == function.most else f"{function.least} to {function.most}"
        arguments = "1 argument" if count == "1" else f"{count} arguments"
        rows.append((f"`{name}`", f"{function.summary} ({arguments})"))
    yield from _table(("function", "result"), sorted(rows, key=lambda row: row[0].lower()))


def _diagnostics() -> Iterator[str]:
    yield _page(
        "Complaints about the configuration",
        "What `nemo-bridge check` and `run` can find, by code. `nemo-bridge explain NB021` prints the same. A code "
        "never changes its meaning.",
    )
    for code, explanation in sorted(EXPLANATIONS.items()):
        yield f"## {code}: {explanation.title}\n\n{_line(explanation.text)}\n\n"
        for word, example in (("Wrong:", explanation.wrong), ("Right:", explanation.right)):
            if example:
                yield f"{word}\n\n```text\n{example.rstrip()}\n```\n\n"


def _errors() -> Iterator[str]:
    yield _page(
        "Kinds of errors",
        "What `error.kind` of a failed response, and of `resilience.<id>.failed`, can be. What may be repeated is told "
        "by `idempotent` in the configuration of the integration, by a key of the caller, or by the protocol itself.",
    )
    classes = {one.kind: one for one in BridgeError.__subclasses__() if one.__module__ == BridgeError.__module__}
    rows = []
    for kind in get_args(ErrorKind):
        error = classes[kind]("")
        rows.append((f"`{kind}`", (classes[kind].__doc__ or "").strip(), _again(error), _breaker(error)))
    yield from _table(("kind", "meaning", "tried again", "circuit breaker"), rows)


def _again(error: BridgeError) -> str:
    if may_retry(error, idempotent=False):
        return "yes"
    if may_retry(error, idempotent=True):
        return "if it may be repeated"
    return "by the caller, later" if error.retryable else "no"


def _breaker(error: BridgeError) -> str:
    counts = {CountsAs.FAILURE: "a failure", CountsAs.SUCCESS: "the remote works", CountsAs.IGNORED: "not counted"}
    if error.kind == "deadline":
        return "a failure, if it was sent"
    return counts[classify(error)]


def _events(schemas: Mapping[str, Any]) -> Iterator[str]:
    yield _page(
        "Events",
        "Everything that the bridge takes from the bus and puts on it. `<id>` is the label of an integration, "
        "`<fabric>` that of a fabric, and `<node>` the name of a bridge in one. "
        "`nemo-bridge schema NAME` prints the JSON Schema of each.",
    )
    types: dict[str, Any] = {}
    results = {kind.name.removeprefix("response/"): kind for kind in MESSAGE_TYPES if kind.is_response}
    yield "## The envelope\n\n"
    yield from _object(schemas["event"], types)
    for channel in CHANNELS:
        kinds = [kind for kind in MESSAGE_TYPES if kind.channel == channel.name and not kind.is_response]
        if not kinds:
            continue
        yield f"## {channel.title}\n\n"
        for kind in kinds:
            yield f"### `{kind.topic_in_text}`\n\n"
            yield from _object(schemas[kind.name], types)
            result = results.get(kind.name.removeprefix("command/")) if kind.name.startswith("command/") else None
            if result is not None:
                yield from _result(schemas[result.name], types)
    yield "## Responses\n\nWhat a command, or a route, is answered with: a success or a failure.\n\n"
    yield from _object(_success(schemas["response/route"]), types)
    definitions = schemas["response/route"]["$defs"]
    yield from _object(definitions["RouteFailure"] | {"$defs": definitions}, types)
    yield "## Types\n\nWhat several events have in common.\n\n"
    shown: set[str] = set()
    while types.keys() - shown:
        for name in sorted(types.keys() - shown):
            shown.add(name)
            yield f"### {name}\n\n"
            yield from _object(types[name], types)


def _success(schema: Mapping[str, Any]) -> dict[str, Any]:
    name = next(one["$ref"].removeprefix("#/$defs/") for one in schema["oneOf"] if one["$ref"].endswith("Success"))
    return dict(schema["$defs"][name]) | {"examples": schema["examples"], "$defs": schema["$defs"]}


def _result(schema: Mapping[str, Any], types: dict[str, Any]) -> Iterator[str]:
    success = _success(schema)
    result = success["properties"]["result"]
    yield f"Result: {_type(result, types, schema)}.\n\n"
    example = success["examples"][0]
    yield f"```json\n{json.dumps(example, ensure_ascii=False, indent=2)}\n```\n\n"


def _object(schema: Mapping[str, Any], types: dict[str, Any]) -> Iterator[str]:
    """Yield the description of an object, a table of its properties, and its example."""
    if schema.get("description"):
        yield f"{_line(schema['description'])}\n\n"
    rows = []
    for name, one in schema.get("properties", {}).items():
        optional = "" if name in schema.get("required", ()) else " (optional)"
        rows.append((f"`{name}`{optional}", _type(one, types, schema), one.get("description", "")))
    if rows:
        yield from _table(("key", "type", "meaning"), rows)
    elif "enum" in schema:
        yield f"One of {_code(json.dumps(value) for value in schema['enum'])}.\n\n"
    for example in schema.get("examples", ()):
        if example not in ({}, None):
            yield f"```json\n{json.dumps(example, ensure_ascii=False, indent=2)}\n```\n\n"


def _type(schema: Mapping[str, Any], types: dict[str, Any], whole: Mapping[str, Any]) -> str:
    """Return a type in words; named ones are added to `types`, and become links."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        types.setdefault(name, dict(whole["$defs"][name]) | {"$defs": whole["$defs"]})
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    options_of = schema.get("anyOf") or schema.get("oneOf")
    if options_of:
        return " or ".join(dict.fromkeys(_type(one, types, whole) for one in options_of))
    kinds = schema.get("type", "any value")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    inner = schema.get("items") or schema.get("additionalProperties")
    of = f" of {_type(inner, types, whole)}" if isinstance(inner, dict) and inner else ""
    return " or ".join(f"{kind}{of}" if kind in {"array", "object"} else kind for kind in kinds)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n"
    for row in rows:
        yield f"| {' | '.join(_cell(text) for text in row)} |\n"
    yield "\n"


def _cell(text: str) -> str:
    """Return a text for a table: in one line, with `|` escaped."""
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    """Return a text in one line, with `<` outside of code escaped."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))

"""Makes the files of `schemas/`, writes them, and compares them with those that are there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.contract.asyncapi import asyncapi
from bridge.contract.catalogue import MESSAGE_TYPES
from bridge.contract.rust import rust
from bridge.contract.schemas import documents
from bridge.core.ports import AdapterSpec

_README = """\
# Schemas

The bus contract, version 1, and the configuration as JSON Schemas (draft 2020-12), and the contract as an
[AsyncAPI 3.1 document](asyncapi.json). `scripts/schemas` writes this folder from the models in `bridge/`.

Every message is the map of [`event.schema.json`](event.schema.json) in MessagePack; the schemas below are those of its
`payload`. Wherever any value may stand, bytes are an object with one key, `{{"$bytes": "<base64>"}}` (RFC 4648, section
4, with padding); MessagePack's `bin` is understood, too. `<id>` is the label of an integration,
`<fabric>` that of a fabric, and `<node>` a bridge in one. Where two types fit, the upper one counts.

| event type | schema of the payload |
| --- | --- |
{rows}
| anything else | any value: an event of the application |

The bridge refuses a command with an unknown property. What it emits may get new properties, and its lists of values new
ones, within one version of the contract: a reader leaves alone what it does not know.

Code generators find a name for each type (its `title`; equal titles are equal types) and the width of each integer (its
`format`). The AsyncAPI document contains all of it once more, in the dialect of JSON Schema that AsyncAPI has (draft
07), and refers to no other file.

[`configuration.schema.json`](configuration.schema.json) describes the configuration as data, with the adapters
that come with the bridge.
"""


def files(adapters: Mapping[str, AdapterSpec]) -> dict[str, str]:
    """Return the text of each file by its path within `schemas/`; the same models give the same bytes."""
    schemas = documents(adapters)
    texts = {f"{name}.schema.json": _json(schema) for name, schema in schemas.items()}
    texts["asyncapi.json"] = _json(asyncapi(schemas))
    texts["README.md"] = _README.format(rows="\n".join(_rows()))
    return texts


def rust_types(adapters: Mapping[str, AdapterSpec]) -> str:
    """Return the text of `rust/client/src/contract.rs`."""
    return rust(documents(adapters))


def write(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Write and remove files so that the folder has just these; return the paths that changed."""
    changed = drift(folder, texts)
    for path in changed:
        target = folder / path
        if path in texts:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(texts[path], encoding="utf-8", newline="\n")
        else:
            target.unlink()
    return changed


def drift(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Return the paths, sorted, of files that are missing, differ, or do not belong there."""
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return sorted(
        path
        for path in there.keys() | texts.keys()
        if path not in texts or path not in there or there[path].read_bytes() != texts[path].encode()
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _rows() -> list[str]:
    return [
        f"| `{kind.topic_in_text}` | [`{kind.name}.schema.json`]({kind.name}.schema.json) |" for kind in MESSAGE_TYPES
    ]

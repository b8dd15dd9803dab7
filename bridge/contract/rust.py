"""Makes the Rust types of the contract, `rust/client/src/contract.rs`, from the JSON Schemas.

Two generators were tried first. What typify makes of a list of values fails on a value that a newer bridge adds, and it
writes several times as many lines; quicktype's types fail in the same way. A reader on the bus must take what it does
not know.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from bridge.contract.catalogue import MESSAGE_TYPES

_HEAD: Final = """\
//! Types of the payloads on the bus.
//!
//! `scripts/schemas` writes this file from `schemas/`: change nothing here. A reader leaves alone
//! what it does not know: unknown properties are skipped, and an unknown value of an enumeration is
//! kept as `Other`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The payload of a response: a result of type `R`, or an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Response<R> {
    /// The operation has succeeded.
    Success(Success<R>),
    /// The operation has failed.
    Failure(Failure),
}
"""
_TESTS: Final = """
#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    /// Checks that each example of a schema reads as its type and is written as it was.
    fn keeps_examples<T: DeserializeOwned + Serialize>(schema: &str) {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let examples = schema["examples"].as_array().unwrap();
        assert!(!examples.is_empty());
        for example in examples {
            let read: T = serde_json::from_value(example.clone()).unwrap();
            assert_eq!(&serde_json::to_value(read).unwrap(), example);
        }
    }

    // Every example of the schemas reads as its type and is written as it was.
    #[test]
    fn examples_of_the_schemas_are_kept() {
@EXAMPLES@
    }

    // An unknown property is skipped, and an unknown value of an enumeration is kept.
    #[test]
    fn a_newer_bridge_can_be_read() {
        let text = r#"{"kind": "tired", "message": "zzz", "retryable": true, "mood": "calm"}"#;
        let read: ErrorObject = serde_json::from_str(text).unwrap();
        assert_eq!(read.kind, ErrorKind::Other("tired".into()));
        assert_eq!(read.kind.to_string(), "tired");
        assert_eq!(serde_json::to_value(read).unwrap()["kind"], "tired");
    }

    // A response reads as a success or a failure, and as neither where it is none.
    #[test]
    fn a_response_is_a_success_or_a_failure() {
        let good = r#"{"ok": true, "result": null, "attempts": 1, "duration_ms": 1.5}"#;
        let read: RequestResponse = serde_json::from_str(good).unwrap();
        assert!(matches!(read, Response::Success(success) if success.result.is_null()));
        let bad = r#"{"ok": false, "error": {"kind": "timeout", "message": "m", "retryable": true},
            "attempts": 1, "duration_ms": 1.5}"#;
        let read: RequestResponse = serde_json::from_str(bad).unwrap();
        let Response::Failure(failure) = read else {
            panic!("a success: {read:?}");
        };
        assert_eq!(failure.error.kind, ErrorKind::Timeout);
        assert!(serde_json::from_str::<RequestResponse>(r#"{"ok": true}"#).is_err());
    }
}
"""
_DERIVE: Final = "#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]"
_DERIVE_DEFAULT: Final = "#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]"
_SIMPLE: Final = {"string": "String", "boolean": "bool"}
_NUMBERS: Final = {"int64": "i64", "uint64": "u64", "double": "f64"}
_KEYWORDS: Final = frozenset({"type", "ref", "match", "move", "use", "where", "in", "for", "final", "override"})
#: What `Success` and `Failure` are made from: the forms with all properties.
_ROUTE: Final = "response/route"


def rust(documents: Mapping[str, dict[str, Any]]) -> str:
    """Return the text of the file.

    Args:
        documents: The JSON Schemas by name, as `bridge.contract.documents` returns them.
    """
    items = [_HEAD]
    types = _types(documents)
    items += ["\n".join(_item(name, types[name])) + "\n" for name in sorted(types)]
    aliases = {
        kind.type_name: _type(_result(documents[kind.name]), required=True)
        for kind in MESSAGE_TYPES
        if kind.type_name.endswith("Response")
    }
    for name, result in sorted(aliases.items()):
        words = re.sub(r"(?<=.)(?=[A-Z])", " ", name.removesuffix("Response")).lower()
        items.append(f"/// The payload of a response: {words}.\npub type {name} = Response<{result}>;\n")
    examples = {kind.name: kind.type_name for kind in MESSAGE_TYPES}
    checks = (line for name, title in sorted(examples.items()) for line in _example(name, title))
    return "\n".join(items) + _TESTS.replace("@EXAMPLES@", "\n".join(checks))


def _types(documents: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the schemas of all types by name; `Success` is generic, and both forms of a response may have a route."""
    found: dict[str, dict[str, Any]] = {}
    for kind in MESSAGE_TYPES:
        document = documents[kind.name]
        if "oneOf" not in document:
            found[kind.type_name] = document | {"command": kind.name.startswith("command/")}
        found.update(document.get("$defs", {}))
    found = {name: schema for name, schema in found.items() if not name.endswith("Success") and name != "RouteFailure"}
    for name in ("Success", "Failure"):
        form = documents[_ROUTE]["$defs"][f"Route{name}"]
        required = [key for key in form["required"] if key != "route"]
        found[name] = form | {"title": name, "required": required}
    return found


def _result(document: dict[str, Any]) -> dict[str, Any]:
    name = document["oneOf"][0]["$ref"].rpartition("/")[2]
    result: dict[str, Any] = document["$defs"][name]["properties"]["result"]
    return result


def _item(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from _comment(schema["description"], "")
    if "enum" in schema:
        yield from _enumeration(name, schema["enum"])
    elif "anyOf" in schema:
        yield from _alternatives(name, schema["anyOf"])
    elif "properties" in schema or schema.get("type") == ["object", "null"] or schema.get("type") == "object":
        yield from _struct(name, schema)
    else:
        yield f"pub type {name} = {_type(schema, required=True)};"


def _struct(name: str, schema: dict[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    properties = schema.get("properties", {})
    command = schema.get("command", False)
    # All that a caller may leave out has a default; what the bridge emits may get new fields.
    yield _DERIVE_DEFAULT if command else _DERIVE
    if not command:
        yield "#[non_exhaustive]"
    generic = "<R>" if name == "Success" else ""
    more = schema.get("additionalProperties", False)
    if not properties and not more:
        yield f"pub struct {name} {{}}"
        return
    yield f"pub struct {name}{generic} {{"
    for key, part in properties.items():
        yield from _comment(part["description"], "    ")
        if key not in required:
            yield '    #[serde(default, skip_serializing_if = "Option::is_none")]'
        kind = "R" if generic and key == "result" else _type(part, required=key in required)
        yield f"    pub {_identifier(key)}: {kind},"
    if more is True:
        yield "    /// Further properties."
        yield "    #[serde(flatten)]"
        yield "    pub more: Map<String, Value>,"
    elif more:
        yield "    /// All other entries, by their name."
        yield "    #[serde(flatten)]"
        yield f"    pub others: BTreeMap<String, {_type(more, required=True)}>,"
    yield "}"


def _enumeration(name: str, values: list[str]) -> Iterator[str]:
    yield "#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]"
    yield '#[serde(rename_all = "snake_case")]'
    yield "#[non_exhaustive]"
    yield f"pub enum {name} {{"
    for value in values:
        yield f"    /// `{value}`."
        yield f"    {_camel(value)},"
    yield "    /// A value that is not in this list: a newer bridge has emitted it."
    yield "    #[serde(untagged)]"
    yield "    Other(String),"
    yield "}"
    yield ""
    yield f"impl {name} {{"
    yield "    /// Returns the value as it stands on the bus."
    yield "    pub fn as_str(&self) -> &str {"
    yield "        match self {"
    for value in values:
        yield f'            Self::{_camel(value)} => "{value}",'
    yield "            Self::Other(value) => value,"
    yield "        }"
    yield "    }"
    yield "}"
    yield ""
    yield f"impl fmt::Display for {name} {{"
    yield "    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {"
    yield "        formatter.write_str(self.as_str())"
    yield "    }"
    yield "}"


def _alternatives(name: str, options: list[dict[str, Any]]) -> Iterator[str]:
    yield "#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]"
    yield "#[serde(untagged)]"
    yield f"pub enum {name} {{"
    for option in options:
        yield f"    /// Of type `{option['type']}`."
        yield f"    {option['title'].removeprefix(name)}({_type(option, required=True)}),"
    yield "}"


def _type(schema: dict[str, Any], *, required: bool) -> str:
    """Return the Rust type of a property; an `Option` where it may be null or missing."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    nullable = len(options) == 1 or "null" in schema.get("type", ())
    if len(options) == 1:
        inner = _type(options[0], required=True)
    elif "$ref" in schema:
        inner = schema["$ref"].rpartition("/")[2]
    elif not kinds or kinds == ["null"]:
        inner = "Value"
    else:
        inner = _plain_type(kinds[0], schema)
    return inner if required and not nullable else f"Option<{inner}>"


def _plain_type(kind: str, schema: dict[str, Any]) -> str:
    if kind in {"integer", "number"}:
        return _NUMBERS[schema["format"]]
    if kind == "array":
        return f"Vec<{_type(schema.get('items', {}), required=True)}>"
    if kind == "object":
        return f"BTreeMap<String, {_type(schema.get('additionalProperties', {}), required=True)}>"
    return _SIMPLE[kind]


def _example(name: str, title: str) -> Iterator[str]:
    path = f'"../../../schemas/{name}.schema.json"'
    argument = f"include_str!({path})"
    line = f"        keeps_examples::<{title}>({argument});"
    # As rustfmt breaks lines.
    if len(argument) <= 60 and len(line) <= 100:
        yield line
    else:
        yield f"        keeps_examples::<{title}>(include_str!("
        yield f"            {path}"
        yield "        ));"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, 96 - len(indent), break_long_words=False, break_on_hyphens=False):
        yield f"{indent}/// {line}"


def _identifier(key: str) -> str:
    return f"r#{key}" if key in _KEYWORDS else key


def _camel(value: str) -> str:
    return "".join(word.capitalize() for word in value.split("_"))

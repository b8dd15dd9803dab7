//! Reads what an application puts into `data.bridge.call` and `data.bridge.emit`, and into the queue.

use std::time::Duration;

use indexmap::IndexMap;
use nemo_plugin_api::PluginValue;
use serde_json::{Map, Value, json};

use crate::{path, value};

/// The longest time that an application may wait for an answer: a day.
const MAX_TIMEOUT_MS: i64 = 24 * 60 * 60 * 1000;

/// What an application asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A call of an integration, or of the bridge itself.
    Call(Call),
    /// An event for the bus.
    Emit(Emit),
}

/// A call, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The integration's name, or `bridge`.
    pub integration: String,
    /// The operation, such as `request` or `publish`.
    pub operation: String,
    /// The command's payload.
    pub payload: Value,
    /// The path of the answer, as Nemo's `set_data` takes it.
    pub into: String,
    /// How long to wait for the answer; `None`: as long as the settings say.
    pub timeout: Option<Duration>,
    /// Whether the command is sent once only, and the bridge does not repeat it where a remote may have acted already.
    pub once: bool,
}

/// An event, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Emit {
    /// The event's type.
    pub event_type: String,
    /// The event's payload.
    pub payload: Value,
}

/// What an entry lacks, and where its answer would have been stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Malformed {
    /// What is wrong, and what would be right.
    pub reason: String,
    /// The path of the answer of a call, where that much can be read.
    pub into: Option<String>,
}

/// Read a call.
///
/// # Arguments
///
/// * `value`: `{integration, operation = "request", method?, params? | payload?, into?, timeout_ms?, once?, id?}`.
/// * `number`: the entry's number in the queue; its answer is stored by it where the entry names no place.
///
/// # Errors
///
/// It is no call; see [`Malformed`].
pub fn call(value: &PluginValue, number: Option<i64>) -> Result<Call, Malformed> {
    const KEYS: [&str; 9] = [
        "integration",
        "operation",
        "method",
        "params",
        "payload",
        "into",
        "timeout_ms",
        "once",
        "id",
    ];
    let object =
        object_of(value, "a call", "{integration, method, params, into}").map_err(without_place)?;
    let into = place(object, number).map_err(without_place)?;
    let read = || -> Result<Call, String> {
        known_keys(object, "a call", &KEYS)?;
        let integration =
            text(object, "integration")?.ok_or("a call needs 'integration', the name of one")?;
        segment("integration", integration)?;
        let operation = text(object, "operation")?.unwrap_or("request");
        if operation.is_empty() || operation.split('.').any(str::is_empty) {
            return Err(format!(
                "'operation' is '{operation}'; it is a word such as 'request'"
            ));
        }
        Ok(Call {
            integration: integration.to_owned(),
            operation: operation.to_owned(),
            payload: payload(object)?,
            into: into.clone(),
            timeout: timeout(object)?,
            once: once(object)?,
        })
    };
    read().map_err(|reason| Malformed {
        reason,
        into: Some(into.clone()),
    })
}

/// Read an event, `{type, payload}`.
///
/// # Errors
///
/// It is no event; see [`Malformed`].
pub fn emit(value: &PluginValue) -> Result<Emit, Malformed> {
    let read = || -> Result<Emit, String> {
        let object = object_of(value, "an event", "{type, payload}")?;
        known_keys(object, "an event", &["type", "payload"])?;
        let event_type =
            text(object, "type")?.ok_or("an event needs 'type', such as 'order.created'")?;
        event_type
            .split('.')
            .try_for_each(|part| segment("type", part))?;
        let payload = object.get("payload").unwrap_or(&PluginValue::Null);
        Ok(Emit {
            event_type: event_type.to_owned(),
            payload: value::to_json(payload).map_err(|reason| format!("in 'payload', {reason}"))?,
        })
    };
    read().map_err(without_place)
}

/// Read an entry of the queue, `{n, call}` or `{n, emit}`.
///
/// # Errors
///
/// It is neither; see [`Malformed`].
pub fn queued(value: &PluginValue, number: i64) -> Result<Entry, Malformed> {
    let shape = "{n, call} or {n, emit}";
    let object = object_of(value, "an entry of the queue", shape).map_err(without_place)?;
    if object.get("n") != Some(&PluginValue::Integer(number)) {
        return Err(without_place(format!(
            "entry {number} of the queue is missing; its place holds another"
        )));
    }
    match (object.get("call"), object.get("emit")) {
        (Some(value), None) => call(value, Some(number)).map(Entry::Call),
        (None, Some(value)) => emit(value).map(Entry::Emit),
        _ => Err(without_place(format!("an entry of the queue is {shape}"))),
    }
}

/// Return the path of the answer to a call that names none.
pub fn default_place(id: &str) -> String {
    format!("bridge.answers.{}", path::name(id))
}

fn without_place(reason: String) -> Malformed {
    Malformed { reason, into: None }
}

fn object_of<'a>(
    value: &'a PluginValue,
    what: &str,
    shape: &str,
) -> Result<&'a IndexMap<String, PluginValue>, String> {
    match value {
        PluginValue::Object(object) => Ok(object),
        other => Err(format!("{what} is an object {shape}, not {}", kind(other))),
    }
}

fn known_keys(
    object: &IndexMap<String, PluginValue>,
    what: &str,
    keys: &[&str],
) -> Result<(), String> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!("{what} has no '{key}'; it has {}", keys.join(", "))),
        None => Ok(()),
    }
}

/// Return a text; `None` where the key is missing or `Null`.
fn text<'a>(
    object: &'a IndexMap<String, PluginValue>,
    key: &str,
) -> Result<Option<&'a str>, String> {
    match object.get(key) {
        None | Some(PluginValue::Null) => Ok(None),
        Some(PluginValue::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("'{key}' is text, not {}", kind(other))),
    }
}

fn segment(key: &str, text: &str) -> Result<(), String> {
    let fits = |letter: char| !letter.is_control() && !letter.is_whitespace();
    if text.is_empty() || !text.chars().all(fits) || (key == "integration" && text.contains('.')) {
        return Err(format!(
            "'{key}' has '{}' in it; it is made of letters, digits, '_' and '-'{}",
            text.escape_debug(),
            if key == "type" {
                ", with dots between its parts"
            } else {
                ""
            }
        ));
    }
    Ok(())
}

fn place(object: &IndexMap<String, PluginValue>, number: Option<i64>) -> Result<String, String> {
    if let Some(into) = text(object, "into")? {
        return path::of_application(into).map_err(|reason| format!("'into': {reason}"));
    }
    Ok(match (object.get("id"), number) {
        (Some(PluginValue::String(id)), _) => default_place(id),
        (Some(PluginValue::Integer(id)), _) => default_place(&id.to_string()),
        (None | Some(PluginValue::Null), Some(number)) => default_place(&number.to_string()),
        (None | Some(PluginValue::Null), None) => default_place("last"),
        (Some(other), _) => return Err(format!("'id' is text or an integer, not {}", kind(other))),
    })
}

fn payload(object: &IndexMap<String, PluginValue>) -> Result<Value, String> {
    let json = |key: &str| {
        object
            .get(key)
            .map(|value| value::to_json(value).map_err(|reason| format!("in '{key}', {reason}")))
            .transpose()
    };
    let (method, params, payload) = (text(object, "method")?, json("params")?, json("payload")?);
    if payload.is_some() && (method.is_some() || params.is_some()) {
        return Err("a call has either 'method' and 'params', or 'payload'".to_owned());
    }
    match (payload, method) {
        (Some(payload), _) => Ok(payload),
        (None, Some(method)) => {
            let mut request = Map::from_iter([("method".to_owned(), json!(method))]);
            if let Some(params) = params {
                request.insert("params".to_owned(), params);
            }
            Ok(Value::Object(request))
        }
        (None, None) if params.is_some() => Err("a call with 'params' needs 'method'".to_owned()),
        (None, None) => Ok(json!({})),
    }
}

fn timeout(object: &IndexMap<String, PluginValue>) -> Result<Option<Duration>, String> {
    match object.get("timeout_ms") {
        None | Some(PluginValue::Null) => Ok(None),
        Some(PluginValue::Integer(milliseconds @ 1..=MAX_TIMEOUT_MS)) => {
            Ok(Some(Duration::from_millis(milliseconds.unsigned_abs())))
        }
        Some(other) => Err(format!(
            "'timeout_ms' is {}; it is an integer from 1 to {MAX_TIMEOUT_MS}",
            match other {
                PluginValue::Integer(number) => number.to_string(),
                other => kind(other).to_owned(),
            }
        )),
    }
}

fn once(object: &IndexMap<String, PluginValue>) -> Result<bool, String> {
    match object.get("once") {
        None | Some(PluginValue::Null) => Ok(false),
        Some(PluginValue::Bool(once)) => Ok(*once),
        Some(other) => Err(format!("'once' is true or false, not {}", kind(other))),
    }
}

fn kind(value: &PluginValue) -> &'static str {
    match value {
        PluginValue::Null => "null",
        PluginValue::Bool(_) => "a truth value",
        PluginValue::Integer(_) => "an integer",
        PluginValue::Float(_) => "a float",
        PluginValue::String(_) => "text",
        PluginValue::Array(_) => "a list",
        PluginValue::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::from_json;

    fn read(json: Value) -> Result<Call, Malformed> {
        call(&from_json(json), None)
    }

    // A call in full, and the shortest one with what it means.
    #[test]
    fn calls_are_read() {
        let full = read(json!({
            "integration": "shop", "operation": "request", "method": "orders.get", "params": {"id": 1},
            "into": "data.orders.result", "timeout_ms": 500, "once": true
        }));
        let publish = read(
            json!({"integration": "events", "operation": "publish", "payload": {"topic": "a"}, "id": 7}),
        );
        let status =
            read(json!({"integration": "bridge", "operation": "circuit.reset", "method": null}));

        assert_eq!(
            full,
            Ok(Call {
                integration: "shop".to_owned(),
                operation: "request".to_owned(),
                payload: json!({"method": "orders.get", "params": {"id": 1}}),
                into: "orders.result".to_owned(),
                timeout: Some(Duration::from_millis(500)),
                once: true,
            })
        );
        assert_eq!(
            publish.map(|call| (call.payload, call.into)),
            Ok((json!({"topic": "a"}), "bridge.answers._7".to_owned()))
        );
        assert_eq!(
            status.map(|call| (call.payload, call.into)),
            Ok((json!({}), "bridge.answers.last".to_owned()))
        );
    }

    // Each thing that can be wrong with a call has a message that says where it is and what would be right.
    #[test]
    fn malformed_calls_are_explained() {
        for (json, expected) in [
            (
                json!(7),
                "a call is an object {integration, method, params, into}, not an integer",
            ),
            (json!({}), "needs 'integration'"),
            (
                json!({"integration": 7}),
                "'integration' is text, not an integer",
            ),
            (
                json!({"integration": "a b"}),
                "'integration' has 'a b' in it",
            ),
            (
                json!({"integration": "a.b"}),
                "'integration' has 'a.b' in it",
            ),
            (
                json!({"integration": "a\n"}),
                r"'integration' has 'a\n' in it",
            ),
            (
                json!({"integration": "a", "operation": "x."}),
                "'operation' is 'x.'",
            ),
            (
                json!({"integration": "a", "methods": "x"}),
                "a call has no 'methods'; it has integration, operation, method",
            ),
            (
                json!({"integration": "a", "params": {}}),
                "with 'params' needs 'method'",
            ),
            (
                json!({"integration": "a", "method": "x", "payload": {}}),
                "either 'method' and 'params', or 'payload'",
            ),
            (
                json!({"integration": "a", "timeout_ms": 0}),
                "'timeout_ms' is 0; it is an integer from 1 to 86400000",
            ),
            (
                json!({"integration": "a", "timeout_ms": "1s"}),
                "'timeout_ms' is text",
            ),
            (
                json!({"integration": "a", "once": 1}),
                "'once' is true or false, not an integer",
            ),
            (
                json!({"integration": "a", "id": []}),
                "'id' is text or an integer, not a list",
            ),
            (
                json!({"integration": "a", "into": "x.0"}),
                "'into': '0' in the path 'x.0' names no place",
            ),
        ] {
            let reason = read(json.clone()).expect_err("malformed").reason;
            assert!(reason.contains(expected), "{json}: {reason}");
        }
    }

    // The answer to a malformed call is stored where the answer to a good one would have been.
    #[test]
    fn a_malformed_call_still_has_its_place() {
        let error = read(json!({"integration": 7, "into": "a.b"})).expect_err("malformed");

        assert_eq!(error.into.as_deref(), Some("a.b"));
    }

    // An event in full and with its default payload, and what can be wrong with one.
    #[test]
    fn events_are_read() {
        let event = |json| emit(&from_json(json)).map(|event| (event.event_type, event.payload));

        assert_eq!(
            event(json!({"type": "order.created", "payload": {"id": 1}})),
            Ok(("order.created".to_owned(), json!({"id": 1})))
        );
        assert_eq!(
            event(json!({"type": "a"})),
            Ok(("a".to_owned(), Value::Null))
        );
        for json in [
            json!(null),
            json!({}),
            json!({"type": ""}),
            json!({"type": "a..b"}),
            json!({"type": "a b"}),
            json!({"type": "a", "x": 1}),
        ] {
            assert!(event(json.clone()).is_err(), "{json}");
        }
        let float = value::object([
            ("type", value::string("a")),
            ("payload", PluginValue::Float(f64::NAN)),
        ]);
        assert_eq!(
            emit(&float).expect_err("malformed").reason,
            "in 'payload', it is NaN; a number on the bus is finite"
        );
    }

    // An entry of the queue has the number that its place says, and is either a call or an event.
    #[test]
    fn entries_of_the_queue_are_read() {
        let queued = |json, number| queued(&from_json(json), number);

        let call = queued(
            json!({"n": 7, "call": {"integration": "shop", "method": "x"}}),
            7,
        );
        assert!(matches!(call, Ok(Entry::Call(Call { into, .. })) if into == "bridge.answers._7"));
        assert!(matches!(
            queued(json!({"n": 7, "emit": {"type": "x"}}), 7),
            Ok(Entry::Emit(_))
        ));
        for json in [
            json!(null),
            json!({"n": 7}),
            json!({"n": 6, "emit": {"type": "x"}}),
            json!({"n": 7, "call": 1, "emit": 1}),
        ] {
            assert!(queued(json.clone(), 7).is_err(), "{json}");
        }
    }
}

//! Bytes in payloads.
//!
//! A payload is JSON's data model, which has no bytes. The bus contract writes them as an object with one key:
//! `{"$bytes": "<base64>"}` (RFC 4648, section 4, padded). MessagePack's own `bin` becomes the same object when an event
//! is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The one key of an object that stands for bytes.
pub const BYTES_KEY: &str = "$bytes";

/// Returns the value that stands for these bytes in a payload.
///
/// ```
/// let value = nemo_bridge_client::bytes_to_value(&[0xff, 0x00]);
/// assert_eq!(value, serde_json::json!({"$bytes": "/wA="}));
/// ```
pub fn bytes_to_value(bytes: &[u8]) -> Value {
    let mut object = Map::new();
    object.insert(BYTES_KEY.to_owned(), Value::String(STANDARD.encode(bytes)));
    Value::Object(object)
}

/// Returns the bytes that a value stands for, or `None` where it is anything else or its base64 is not valid.
///
/// ```
/// let value = serde_json::json!({"$bytes": "/wA="});
/// assert_eq!(nemo_bridge_client::bytes_from_value(&value), Some(vec![0xff, 0x00]));
/// assert_eq!(nemo_bridge_client::bytes_from_value(&serde_json::json!("/wA=")), None);
/// ```
pub fn bytes_from_value(value: &Value) -> Option<Vec<u8>> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    STANDARD.decode(object.get(BYTES_KEY)?.as_str()?).ok()
}

//! Events: the record that the bus carries, and its two MessagePack shapes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

use crate::bytes::bytes_to_value;
use crate::errors::InvalidError;

/// The most bytes of an event type (bus contract).
const MOST_TYPE: usize = 255;
/// How deep a payload that is sent may nest (the bridge's default limit).
const MOST_DEPTH: usize = 32;
/// How deep an event that is read may nest, the event itself included. More than any bridge sends, and little enough for
/// a small stack.
const MOST_DEPTH_READ: usize = 100;

/// An event on the bus.
///
/// Its first six fields are those of Nemo's own event, under the same names. `headers` is the bridge's addition; Nemo
/// ignores it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// A number that rises within one source and one life of its process. 0 until the event is sent.
    pub id: u64,
    /// A dotted name, as in `order.created`.
    pub event_type: String,
    /// The content. Bytes in it are objects, see [`bytes_from_value`](crate::bytes_from_value).
    pub payload: Value,
    /// Unix time in milliseconds.
    pub timestamp: u64,
    /// The program that emitted it.
    pub source: Option<String>,
    /// Connects a response with its request.
    pub correlation_id: Option<String>,
    /// `traceparent`, `idempotency_key`, `deadline_ms`, `hop`, `seq`, and others, which are passed on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Whether it was read from the bus, and so must not be sent back there.
    #[serde(skip)]
    pub(crate) from_bus: bool,
}

impl Event {
    /// Creates an event of this moment, with neither source, correlation id nor headers.
    pub fn new(event_type: impl Into<String>, payload: impl Into<Value>) -> Event {
        Event {
            id: 0,
            event_type: event_type.into(),
            payload: payload.into(),
            timestamp: now_ms(),
            source: None,
            correlation_id: None,
            headers: BTreeMap::new(),
            from_bus: false,
        }
    }

    /// Sets the source; without one, the event gets the client's.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<String>) -> Event {
        self.source = Some(source.into());
        self
    }

    /// Sets the number that the event has at its source; without one, the client numbers it.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Event {
        self.id = id;
        self
    }

    /// Sets the time at which it happened, as Unix time in milliseconds.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: u64) -> Event {
        self.timestamp = timestamp;
        self
    }

    /// Sets the correlation id. An event that matches a route is answered with the same one.
    #[must_use]
    pub fn with_correlation_id(mut self, correlation_id: impl Into<String>) -> Event {
        self.correlation_id = Some(correlation_id.into());
        self
    }

    /// Sets one header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Event {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Takes over from the event that caused this one what has to travel on: the correlation id, the context of a trace,
    /// and `hop`, by which the bridge stops events that go in circles.
    ///
    /// Use it for a new event that is made of one from the bus.
    #[must_use]
    pub fn caused_by(mut self, cause: &Event) -> Event {
        self.correlation_id.clone_from(&cause.correlation_id);
        for name in ["hop", "traceparent", "tracestate", "baggage"] {
            if let Some(value) = cause.headers.get(name) {
                self.headers.insert(name.to_owned(), value.clone());
            }
        }
        self
    }

    /// Tells whether this event was read from the bus. Such an event cannot be emitted; make a new one with
    /// [`caused_by`](Event::caused_by).
    pub fn is_from_bus(&self) -> bool {
        self.from_bus
    }

    /// Reads the second frame of a message: a map with unknown keys ignored, or an array of six values.
    ///
    /// # Errors
    ///
    /// This is not an event; the message has the reason.
    pub fn decode(body: &[u8]) -> Result<Event, InvalidError> {
        // serde would take any number of elements for optional fields, and any shape for a struct.
        match body.first() {
            Some(0x80..=0x8f | 0xde | 0xdf | 0x96) => {}
            Some(_) => {
                return Err(InvalidError::new(
                    "neither a map nor an array of six values",
                ));
            }
            None => return Err(InvalidError::new("an empty frame")),
        }
        let mut decoder = rmp_serde::Deserializer::from_read_ref(body);
        decoder.set_max_depth(MOST_DEPTH_READ);
        let wire = Wire::deserialize(&mut decoder)
            .map_err(|error| InvalidError::new(error.to_string()))?;
        Ok(Event {
            id: wire.id,
            event_type: wire.event_type,
            payload: wire.payload.0,
            timestamp: wire.timestamp,
            source: wire.source,
            correlation_id: wire.correlation_id,
            headers: wire.headers.unwrap_or_default(),
            from_bus: true,
        })
    }

    /// Returns the second frame of a message: the map form.
    ///
    /// # Errors
    ///
    /// The bus cannot carry the event; the message has the reason.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidError> {
        check_event_type(&self.event_type)?;
        if deeper_than(&self.payload, MOST_DEPTH) {
            return Err(InvalidError::new(format!(
                "the payload nests deeper than {MOST_DEPTH} levels"
            )));
        }
        let mut body = Vec::with_capacity(256);
        rmp_serde::encode::write_named(&mut body, self)
            .map_err(|error| InvalidError::new(error.to_string()))?;
        Ok(body)
    }
}

/// Returns the Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Checks that a name is dotted segments without spaces and control characters, 255 bytes at most.
pub(crate) fn check_event_type(name: &str) -> Result<(), InvalidError> {
    if name.len() > MOST_TYPE {
        let size = name.len();
        return Err(InvalidError::new(format!(
            "an event type has {MOST_TYPE} bytes at most, this one has {size}"
        )));
    }
    if name.split('.').any(str::is_empty) {
        return Err(InvalidError::new(format!(
            "event type {name:?}: a segment is empty"
        )));
    }
    if name
        .chars()
        .any(|letter| letter.is_whitespace() || letter.is_control())
    {
        return Err(InvalidError::new(format!(
            "event type {name:?}: it holds a space or control character"
        )));
    }
    Ok(())
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => {
            levels == 0 || values.iter().any(|inner| deeper_than(inner, levels - 1))
        }
        Value::Object(values) => {
            levels == 0 || values.values().any(|inner| deeper_than(inner, levels - 1))
        }
        _ => false,
    }
}

/// The fields in the order of the array form; serde makes a reader for both forms of it.
#[derive(Deserialize)]
struct Wire {
    id: u64,
    event_type: String,
    payload: Payload,
    timestamp: u64,
    source: Option<String>,
    correlation_id: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

/// Any value of MessagePack but extensions, as a JSON value; bytes become `$bytes` objects.
struct Payload(Value);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Payload, D::Error> {
        decoder.deserialize_any(PayloadVisitor).map(Payload)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Value;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("a value of JSON's data model, or bytes")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // JSON has neither NaN nor infinities; serde_json writes null for them, too.
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(bytes_to_value(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        // The length that the frame claims is not trusted with memory.
        let mut array = Vec::new();
        while let Some(Payload(value)) = values.next_element()? {
            array.push(value);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            let Payload(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// A key of a map. Numbers become text, as serde_json writes them.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Key, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("a key that is a string or an integer")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
                Ok(Key(key.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, key: u64) -> Result<Key, E> {
                Ok(Key(key.to_string()))
            }

            fn visit_i64<E: de::Error>(self, key: i64) -> Result<Key, E> {
                Ok(Key(key.to_string()))
            }
        }
        decoder.deserialize_any(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::bytes_from_value;
    use serde_json::json;

    fn event() -> Event {
        Event::new(
            "order.created",
            json!({"n": 1, "list": [null, true, -7, 1.5, "x", u64::MAX]}),
        )
        .with_source("shop")
        .with_correlation_id("c1")
        .with_id(7)
        .with_timestamp(1_763_935_200_000)
        .with_header("seq", "3")
    }

    /// Nemo's own record, as its program would write it.
    #[derive(Serialize)]
    struct Nemo<'a> {
        id: u64,
        event_type: &'a str,
        payload: Value,
        timestamp: u64,
        source: Option<&'a str>,
        correlation_id: Option<&'a str>,
    }

    const NEMO: Nemo<'_> = Nemo {
        id: 9,
        event_type: "ui.refresh",
        payload: Value::Null,
        timestamp: 5,
        source: None,
        correlation_id: None,
    };

    // What is written is read back the same, apart from the mark that it came from the bus.
    #[test]
    fn round_trip() {
        let read = Event::decode(&event().encode().unwrap()).unwrap();
        assert!(read.is_from_bus());
        assert_eq!(
            Event {
                from_bus: false,
                ..read
            },
            event()
        );
    }

    // Both shapes that a Rust program can write are understood.
    #[test]
    fn both_shapes() {
        for body in [
            rmp_serde::to_vec(&NEMO).unwrap(),
            rmp_serde::to_vec_named(&NEMO).unwrap(),
        ] {
            let read = Event::decode(&body).unwrap();
            assert_eq!(
                (read.id, read.event_type.as_str(), read.timestamp),
                (9, "ui.refresh", 5)
            );
            assert_eq!((read.source, read.correlation_id), (None, None));
        }
    }

    // Unknown keys of the map are ignored; an array with more or fewer than six values is no event.
    #[test]
    fn unknown_keys() {
        let mut map = serde_json::to_value(event()).unwrap();
        map["more"] = json!([1, {"a": 2}]);
        assert_eq!(
            Event::decode(&rmp_serde::to_vec_named(&map).unwrap())
                .unwrap()
                .id,
            7
        );
        for count in [0, 1, 5, 7, 8] {
            let array = vec![json!(1); count];
            assert!(Event::decode(&rmp_serde::to_vec(&array).unwrap()).is_err());
        }
    }

    // MessagePack's bytes, at any depth, become `$bytes` objects, from which the bytes are read back.
    #[test]
    fn bin_is_never_a_lost_event() {
        let mut body = vec![0x96, 7];
        body.extend([0xa1, b'x']); // event_type
        body.extend([
            0x82, 0xa1, b'a', 0xc4, 2, 0xff, 0xfe, 0xa1, b'b', 0x91, 0xc5, 0, 1, 0,
        ]); // payload
        body.extend([1, 0xc0, 0xc0]);
        let event = Event::decode(&body).unwrap();
        assert_eq!(
            bytes_from_value(&event.payload["a"]),
            Some(vec![0xff, 0xfe])
        );
        assert_eq!(bytes_from_value(&event.payload["b"][0]), Some(vec![0]));
    }

    // Extensions are not part of the contract.
    #[test]
    fn extensions() {
        let body = [0x96, 7, 0xa1, b'x', 0xd4, 1, 0, 1, 0xc0, 0xc0];
        assert!(Event::decode(&body).is_err());
    }

    // Integer keys become text, as in JSON.
    #[test]
    fn integer_keys() {
        let body = [0x96, 7, 0xa1, b'x', 0x82, 5, 1, 0xff, 2, 1, 0xc0, 0xc0];
        assert_eq!(
            Event::decode(&body).unwrap().payload,
            json!({"5": 1, "-1": 2})
        );
    }

    // Whatever bytes come, decoding ends, with an event or an error, and takes no memory that only a length claims.
    #[test]
    fn mutated_frames() {
        let good = event().encode().unwrap();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let mut body = good.clone();
            for _ in 0..=random() % 4 {
                let at = usize::try_from(random()).unwrap_or_default() % body.len();
                body[at] = random().to_le_bytes()[0];
            }
            body.truncate(usize::try_from(random()).unwrap_or_default() % (body.len() * 2));
            read += u32::from(Event::decode(&body).is_ok());
        }
        assert!(read > 0);
        for claim in [
            [0xdd, 0xff, 0xff, 0xff, 0xff],
            [0xdf, 0xff, 0xff, 0xff, 0xff],
            [0xc6, 0xff, 0xff, 0xff, 0xff],
        ] {
            let mut body = vec![0x96, 7, 0xa1, b'x'];
            body.extend(claim);
            assert!(Event::decode(&body).is_err());
        }
        let deep = [[0x96, 7, 0xa1, b'x'].to_vec(), vec![0x91; 1_000_000]].concat();
        assert!(Event::decode(&deep).is_err());
    }

    // What the bus cannot carry is refused before it is sent, with the reason.
    #[test]
    fn refused() {
        for name in ["", "a..b", "a b", "a.\u{7}", &"x".repeat(256)] {
            assert!(Event::new(name, Value::Null).encode().is_err(), "{name:?}");
        }
        let mut deep = Value::Null;
        for _ in 0..40 {
            deep = json!([deep]);
        }
        let error = Event::new("a", deep).encode().unwrap_err();
        assert!(error.to_string().contains("nests deeper"));
    }

    // A new event that is made of one from the bus keeps what ties the two together.
    #[test]
    fn caused_by() {
        let cause = event()
            .with_header("hop", "2")
            .with_header("traceparent", "00-a");
        let next = Event::new("next", json!(1)).caused_by(&cause);
        assert_eq!(next.correlation_id.as_deref(), Some("c1"));
        assert_eq!(next.headers.get("hop").map(String::as_str), Some("2"));
        assert_eq!(next.headers.get("seq"), None);
        assert!(!next.is_from_bus());
    }
}

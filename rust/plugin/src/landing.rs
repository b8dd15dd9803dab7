//! Decides where the last event of each type is stored in Nemo's data repository.
//!
//! A repository has one value at each path. On the bus `order` and `order.created` are both types of events, so the
//! payload of `order` and everything below it share one object. This module keeps all last values, and answers each new
//! one with what has to be written.

use indexmap::IndexMap;
use nemo_plugin_api::PluginValue;

use crate::{path, value};

/// The key for a payload that is no object, where other types of events are stored below it.
const OWN_VALUE: &str = "value";

/// How many different event types are stored.
const MAX_TYPES: usize = 4096;

/// How many bytes all stored payloads take at most, roughly.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How many paths inside of one value are announced to Nemo's user interface one by one, and how deep.
const MAX_INNER_PATHS: usize = 256;
const MAX_INNER_DEPTH: usize = 8;

/// A value to be stored, and the path that Nemo's `set_data` takes.
pub type Write = (String, PluginValue);

/// Keep the last payload of each event type under one root path.
pub struct Landing {
    root: String,
    tree: Node,
    types: usize,
    bytes: usize,
    max_types: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Node {
    own: Option<PluginValue>,
    children: IndexMap<String, Node>,
}

impl Landing {
    /// Keep values under `root`, a path such as `bridge`.
    pub fn new(root: &str) -> Self {
        Self::with_limits(root, MAX_TYPES, MAX_BYTES)
    }

    fn with_limits(root: &str, max_types: usize, max_bytes: usize) -> Self {
        Self {
            root: root.to_owned(),
            tree: Node::default(),
            types: 0,
            bytes: 0,
            max_types,
            max_bytes,
        }
    }

    /// Store a payload, and return what has to be written, in order.
    ///
    /// # Arguments
    ///
    /// * `segments`: where, each of them a name (see [`path::of_event_type`]), at least one.
    /// * `payload`: the last value.
    ///
    /// # Errors
    ///
    /// There are too many types or bytes; the text says which limit it is. Nothing changes then.
    pub fn store(
        &mut self,
        segments: &[String],
        payload: PluginValue,
    ) -> Result<Vec<Write>, String> {
        let old = self.find(segments).and_then(|node| node.own.as_ref());
        if old.is_none() && self.types >= self.max_types {
            return Err(format!(
                "{} types of events are stored, and there is room for no more",
                self.types
            ));
        }
        let freed = old.map_or(0, value::size);
        let payload = value::replace(old, payload);
        let bytes = self.bytes - freed + value::size(&payload);
        if bytes > self.max_bytes && bytes > self.bytes {
            return Err(format!(
                "the stored events take {} bytes of the {} that they may",
                self.bytes, self.max_bytes
            ));
        }
        if old.is_none() {
            self.types += 1;
        }
        self.bytes = bytes;
        let depth = self.insert(segments, payload);
        Ok(self.writes(&segments[..depth]))
    }

    fn find(&self, segments: &[String]) -> Option<&Node> {
        segments
            .iter()
            .try_fold(&self.tree, |node, segment| node.children.get(segment))
    }

    /// Store a payload and return how many segments lead to the place that has to be written.
    ///
    /// That is the payload's own place, or a place above it where the repository does not hold an object yet: Nemo
    /// refuses to set a path below anything else.
    fn insert(&mut self, segments: &[String], payload: PluginValue) -> usize {
        let mut from = None;
        let mut node = &mut self.tree;
        for (index, segment) in segments.iter().enumerate() {
            let is_new = !node.children.contains_key(segment);
            node = node.children.entry(segment.clone()).or_default();
            let is_scalar =
                node.children.is_empty() && !matches!(node.own, Some(PluginValue::Object(_)));
            if is_new || is_scalar {
                from.get_or_insert(index + 1);
            }
        }
        node.own = Some(payload);
        from.unwrap_or(segments.len())
    }

    fn writes(&self, segments: &[String]) -> Vec<Write> {
        let path = std::iter::once(self.root.as_str())
            .chain(segments.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(".");
        let value = self.find(segments).map_or(PluginValue::Null, Node::render);
        with_inner_paths(path, value)
    }
}

impl Node {
    fn render(&self) -> PluginValue {
        if self.children.is_empty() {
            return self.own.clone().unwrap_or(PluginValue::Null);
        }
        let mut object = match &self.own {
            None => IndexMap::new(),
            Some(PluginValue::Object(own)) => own.clone(),
            Some(other) => IndexMap::from([(OWN_VALUE.to_owned(), other.clone())]),
        };
        for (key, child) in &self.children {
            object.insert(key.clone(), child.render());
        }
        PluginValue::Object(object)
    }
}

/// Return the writes that store a value and announce every path inside of it to Nemo's user interface.
///
/// Nemo tells a binding only of a write to exactly the path that it is bound to. A label bound to `orders.result.ok`
/// does not notice that `orders.result` is set. The whole value is written first, so that no reader sees half of it.
pub fn with_inner_paths(path: String, value: PluginValue) -> Vec<Write> {
    let mut inner = Vec::new();
    collect(&path, &value, MAX_INNER_DEPTH, &mut inner);
    let mut writes = Vec::with_capacity(inner.len() + 1);
    writes.push((path, value));
    writes.extend(inner);
    writes
}

fn collect(path: &str, value: &PluginValue, depth: usize, writes: &mut Vec<Write>) {
    let PluginValue::Object(object) = value else {
        return;
    };
    for (key, value) in object {
        if writes.len() >= MAX_INNER_PATHS {
            return;
        }
        if path::is_name(key) {
            let path = format!("{path}.{key}");
            if depth > 1 {
                writes.push((path.clone(), value.clone()));
                collect(&path, value, depth - 1, writes);
            } else {
                writes.push((path, value.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::from_json;
    use serde_json::{Value, json};

    fn store(landing: &mut Landing, event_type: &str, payload: Value) -> Vec<Write> {
        landing
            .store(&path::of_event_type(event_type), from_json(payload))
            .expect("there is room")
    }

    fn write(path: &str, value: Value) -> Write {
        (path.to_owned(), from_json(value))
    }

    // Dots nest, and every path inside of a payload is written by itself, after the whole.
    #[test]
    fn an_event_is_stored_under_its_type() {
        let mut landing = Landing::new("bridge");

        let writes = store(
            &mut landing,
            "order.created",
            json!({"id": 7, "at": {"place": "x"}, "9": 1}),
        );

        assert_eq!(
            writes,
            [
                write(
                    "bridge.order",
                    json!({"created": {"id": 7, "at": {"place": "x"}, "9": 1}})
                ),
                write(
                    "bridge.order.created",
                    json!({"id": 7, "at": {"place": "x"}, "9": 1})
                ),
                write("bridge.order.created.at", json!({"place": "x"})),
                write("bridge.order.created.at.place", json!("x")),
                write("bridge.order.created.id", json!(7)),
            ]
        );
    }

    // A later event is written at its own place only.
    #[test]
    fn a_later_event_is_written_at_its_own_place() {
        let mut landing = Landing::new("bridge");
        store(&mut landing, "order.created", json!(1));
        store(&mut landing, "order.paid", json!(1));

        assert_eq!(
            store(&mut landing, "order.created", json!(2)),
            [write("bridge.order.created", json!(2))]
        );
    }

    // An event whose type continues another's loses neither, in either order.
    #[test]
    fn a_type_that_continues_another() {
        let mut landing = Landing::new("bridge");
        store(&mut landing, "order", json!(5));

        let writes = store(&mut landing, "order.created.at", json!("noon"));
        assert_eq!(
            writes[0],
            write(
                "bridge.order",
                json!({"value": 5, "created": {"at": "noon"}})
            )
        );

        let writes = store(
            &mut landing,
            "order",
            json!({"total": 3, "created": "hidden"}),
        );
        assert_eq!(
            writes[0],
            write(
                "bridge.order",
                json!({"total": 3, "created": {"at": "noon"}})
            )
        );

        let writes = store(&mut landing, "order", json!([1]));
        assert_eq!(
            writes[0],
            write(
                "bridge.order",
                json!({"value": [1], "created": {"at": "noon"}})
            )
        );
    }

    // A key of a payload that is in the way of another type gives way.
    #[test]
    fn a_key_in_the_way_of_a_type() {
        let mut landing = Landing::new("bridge");
        store(&mut landing, "order", json!({"created": 5, "total": 3}));

        let writes = store(&mut landing, "order.created.at", json!("noon"));

        assert_eq!(
            writes[0],
            write("bridge.order.created", json!({"at": "noon"}))
        );
    }

    // A key that the next event of a type lacks becomes null, so that what is bound to it changes.
    #[test]
    fn a_key_that_is_gone_becomes_null() {
        let mut landing = Landing::new("bridge");
        store(&mut landing, "order", json!({"error": {"kind": "timeout"}}));

        let writes = store(&mut landing, "order", json!({"total": 3}));

        assert_eq!(
            writes,
            [
                write("bridge.order", json!({"total": 3, "error": {"kind": null}})),
                write("bridge.order.total", json!(3)),
                write("bridge.order.error", json!({"kind": null})),
                write("bridge.order.error.kind", json!(null)),
            ]
        );
    }

    // Too many types, or too many bytes, are refused; what is there can still change.
    #[test]
    fn types_and_bytes_are_bounded() {
        let mut landing = Landing::with_limits("bridge", 2, 1000);
        store(&mut landing, "a", json!(1));
        store(&mut landing, "b", json!(1));

        let full = landing.store(&path::of_event_type("c"), PluginValue::Null);
        let long = landing.store(&path::of_event_type("a"), value::string("x".repeat(2000)));

        assert!(full.unwrap_err().starts_with("2 types"));
        assert!(long.unwrap_err().ends_with("of the 1000 that they may"));
        assert_eq!(
            store(&mut landing, "a", json!(2)),
            [write("bridge.a", json!(2))]
        );
    }

    // A payload with very many keys does not become very many writes.
    #[test]
    fn inner_paths_are_bounded() {
        let wide: Value = (0..10_000)
            .map(|n| (format!("k{n}"), json!(n)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!({"a": deep});
        }

        assert_eq!(
            with_inner_paths("x".to_owned(), from_json(wide)).len(),
            MAX_INNER_PATHS + 1
        );
        assert_eq!(
            with_inner_paths("x".to_owned(), from_json(deep)).len(),
            MAX_INNER_DEPTH + 1
        );
    }
}

//! A data repository with the rules of Nemo's own: what a path means, and where a value can be set.

use std::sync::{PoisonError, RwLock};

use indexmap::IndexMap;
use nemo_plugin_api::PluginValue;

/// One part of a path.
#[derive(Debug, PartialEq)]
enum Segment<'a> {
    Key(&'a str),
    Index(usize),
    Wildcard,
}

/// Split a path as Nemo does: empty parts are left out, digits are an index, and `items[0]` is a key and an index.
fn parse(path: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        if part == "*" {
            segments.push(Segment::Wildcard);
        } else if let Ok(index) = part.parse() {
            segments.push(Segment::Index(index));
        } else if let (Some(open), Some(close)) = (part.find('['), part.find(']')) {
            if open > 0 {
                segments.push(Segment::Key(&part[..open]));
            }
            if let Some(Ok(index)) = part.get(open + 1..close).map(str::parse) {
                segments.push(Segment::Index(index));
            }
        } else {
            segments.push(Segment::Key(part));
        }
    }
    segments
}

/// Hold the values of an application, from any thread.
#[derive(Debug)]
pub struct Repository {
    root: RwLock<PluginValue>,
}

impl Default for Repository {
    /// Make the repository as Nemo does, with an empty object `data`.
    fn default() -> Self {
        let empty = PluginValue::Object(IndexMap::new());
        Self {
            root: RwLock::new(PluginValue::Object(IndexMap::from([(
                "data".to_owned(),
                empty,
            )]))),
        }
    }
}

impl Repository {
    /// Return a copy of the value at a path, if there is one.
    pub fn get(&self, path: &str) -> Option<PluginValue> {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        let mut value = &*root;
        for segment in parse(path) {
            value = match (segment, value) {
                (Segment::Key(key), PluginValue::Object(object)) => object.get(key)?,
                (Segment::Index(index), PluginValue::Array(items)) => items.get(index)?,
                _ => return None,
            };
        }
        Some(value.clone())
    }

    /// Set the value at a path; objects on the way are made where nothing is.
    ///
    /// # Errors
    ///
    /// Something on the way is no object (for a key) or no list that is long enough (for an index).
    pub fn set(&self, path: &str, value: PluginValue) -> Result<(), String> {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        let mut target = &mut *root;
        for segment in parse(path) {
            target = match (segment, target) {
                (Segment::Key(key), PluginValue::Object(object)) => object
                    .entry(key.to_owned())
                    .or_insert_with(|| PluginValue::Object(IndexMap::new())),
                (Segment::Index(index), PluginValue::Array(items)) => items
                    .get_mut(index)
                    .ok_or_else(|| format!("index {index} of '{path}' is out of bounds"))?,
                (Segment::Wildcard, _) => return Err(format!("'{path}' has a wildcard")),
                (segment, other) => {
                    return Err(format!("{segment:?} of '{path}' is looked up in {other:?}"));
                }
            };
        }
        *target = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(number: i64) -> PluginValue {
        PluginValue::Integer(number)
    }

    // Objects on the way are made, and values are found again.
    #[test]
    fn values_are_set_and_found() {
        let repository = Repository::default();

        repository.set("data.a.b", integer(1)).expect("set");
        repository
            .set("data..list.", PluginValue::Array(vec![integer(2)]))
            .expect("set");
        repository.set("data.list.0", integer(3)).expect("set");

        assert_eq!(repository.get("data.a.b"), Some(integer(1)));
        assert_eq!(repository.get("data.list[0]"), Some(integer(3)));
        assert_eq!(repository.get("data.missing"), None);
    }

    // A number is an index, so it names no key of an object; nothing can be set below a scalar, nor with a wildcard.
    #[test]
    fn places_that_cannot_be_set() {
        let repository = Repository::default();
        repository.set("data.a", integer(1)).expect("set");
        repository.set("data.gone", PluginValue::Null).expect("set");
        repository
            .set("data.list", PluginValue::Array(vec![]))
            .expect("set");

        for path in [
            "data.7",
            "data.+7",
            "data.a.b",
            "data.gone.x",
            "data.list.0",
            "data.list.x",
            "data.*",
        ] {
            assert!(repository.set(path, integer(2)).is_err(), "{path}");
        }
        assert_eq!(repository.get("data.a"), Some(integer(1)));
    }
}

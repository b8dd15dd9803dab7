//! Converts between the values of a Nemo plugin and JSON values.
//!
//! Nemo has signed 64-bit integers and finite or infinite floats, JSON on the bus has unsigned 64-bit integers and no
//! infinities. What does not fit is either kept exactly in another form or refused, and never changed in silence.

use indexmap::IndexMap;
use nemo_plugin_api::PluginValue;
use serde_json::{Map, Number, Value};

/// Convert a JSON value into a value for Nemo's data repository.
///
/// An integer above `i64::MAX` becomes a string with its digits: a float would be another number, and such integers
/// are identifiers. Bytes stay what they are on the bus, an object with the one key `$bytes`.
pub fn from_json(value: Value) -> PluginValue {
    match value {
        Value::Null => PluginValue::Null,
        Value::Bool(value) => PluginValue::Bool(value),
        Value::Number(number) => from_number(&number),
        Value::String(text) => PluginValue::String(text),
        Value::Array(items) => PluginValue::Array(items.into_iter().map(from_json).collect()),
        Value::Object(object) => PluginValue::Object(
            object
                .into_iter()
                .map(|(key, value)| (key, from_json(value)))
                .collect(),
        ),
    }
}

fn from_number(number: &Number) -> PluginValue {
    if let Some(integer) = number.as_i64() {
        PluginValue::Integer(integer)
    } else if number.is_u64() {
        PluginValue::String(number.to_string())
    } else {
        number
            .as_f64()
            .map_or(PluginValue::Null, PluginValue::Float)
    }
}

/// Convert a value of Nemo's data repository into JSON.
///
/// # Errors
///
/// The value holds a float that JSON cannot carry (NaN or an infinity); the text says where.
pub fn to_json(value: &PluginValue) -> Result<Value, String> {
    convert(value, "")
}

fn convert(value: &PluginValue, place: &str) -> Result<Value, String> {
    Ok(match value {
        PluginValue::Null => Value::Null,
        PluginValue::Bool(value) => Value::Bool(*value),
        PluginValue::Integer(value) => Value::from(*value),
        PluginValue::Float(value) => Value::Number(Number::from_f64(*value).ok_or_else(|| {
            let place = if place.is_empty() { "it" } else { place };
            format!("{place} is {value}; a number on the bus is finite")
        })?),
        PluginValue::String(text) => Value::String(text.clone()),
        PluginValue::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| convert(item, &join(place, &index.to_string())))
                .collect::<Result<_, _>>()?,
        ),
        PluginValue::Object(object) => {
            let mut map = Map::with_capacity(object.len());
            for (key, value) in object {
                map.insert(key.clone(), convert(value, &join(place, key))?);
            }
            Value::Object(map)
        }
    })
}

fn join(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_owned()
    } else {
        format!("{place}.{key}")
    }
}

/// Return an object with the given keys and values.
pub fn object<const N: usize>(entries: [(&str, PluginValue); N]) -> PluginValue {
    PluginValue::Object(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// Return a string value.
pub fn string(text: impl Into<String>) -> PluginValue {
    PluginValue::String(text.into())
}

/// Return a non-negative count as an integer value.
pub fn count(number: u64) -> PluginValue {
    PluginValue::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Return roughly how many bytes of memory a value takes.
pub fn size(value: &PluginValue) -> usize {
    let content = match value {
        PluginValue::String(text) => text.len(),
        PluginValue::Array(items) => items.iter().map(size).sum(),
        PluginValue::Object(object) => object
            .iter()
            .map(|(key, value)| key.len() + size(value) + 32)
            .sum(),
        _ => 0,
    };
    content + std::mem::size_of::<PluginValue>()
}

/// How many keys that are no longer there an object keeps as `Null`.
///
/// Without a limit an object with ever new keys would grow for ever.
const MAX_FORMER_KEYS: usize = 64;

/// Return `new`, with `Null` where `old` had a key that `new` has no more.
///
/// A component of Nemo's user interface that is bound to a path learns of a change only if the path still exists.
/// Without the `Null` a label would show the old value for ever.
pub fn replace(old: Option<&PluginValue>, new: PluginValue) -> PluginValue {
    let Some(PluginValue::Object(old)) = old else {
        return new;
    };
    match new {
        PluginValue::Object(new) => PluginValue::Object(replace_object(old, new)),
        PluginValue::Null if !old.is_empty() => {
            PluginValue::Object(replace_object(old, IndexMap::new()))
        }
        other => other,
    }
}

fn replace_object(
    old: &IndexMap<String, PluginValue>,
    new: IndexMap<String, PluginValue>,
) -> IndexMap<String, PluginValue> {
    let mut result: IndexMap<String, PluginValue> = new
        .into_iter()
        .map(|(key, value)| {
            let value = replace(old.get(&key), value);
            (key, value)
        })
        .collect();
    let former: Vec<_> = old
        .iter()
        .filter(|(key, _)| !result.contains_key(*key))
        .take(MAX_FORMER_KEYS)
        .map(|(key, value)| (key.clone(), replace(Some(value), PluginValue::Null)))
        .collect();
    result.extend(former);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(json: Value) -> PluginValue {
        from_json(json)
    }

    // Every JSON value that Nemo can hold comes back as it was.
    #[test]
    fn json_survives_the_way_there_and_back() {
        let json =
            json!({"a": [null, true, -1, i64::MAX, 1.5, "x"], "$bytes": "AP8=", "": {"7": {}}});

        assert_eq!(to_json(&value(json.clone())), Ok(json));
    }

    // An integer that Nemo cannot hold keeps its digits.
    #[test]
    fn large_integers_become_strings() {
        assert_eq!(value(json!(u64::MAX)), string("18446744073709551615"));
    }

    // A float that JSON cannot carry is refused with its place.
    #[test]
    fn floats_that_are_not_finite_are_refused() {
        let nested = object([("a", PluginValue::Array(vec![PluginValue::Float(f64::NAN)]))]);

        assert_eq!(
            to_json(&nested),
            Err("a.0 is NaN; a number on the bus is finite".to_owned())
        );
        assert!(
            to_json(&PluginValue::Float(f64::INFINITY))
                .unwrap_err()
                .starts_with("it is inf")
        );
    }

    // A key that is gone becomes null, at any depth, also where the whole object is gone.
    #[test]
    fn former_keys_become_null() {
        let old = value(json!({"result": {"number": 7, "items": [1]}, "ok": true}));

        let replaced = replace(Some(&old), value(json!({"result": null, "error": "x"})));

        assert_eq!(
            replaced,
            value(json!({"result": {"number": null, "items": null}, "error": "x", "ok": null}))
        );
    }

    // An object whose keys are new each time does not grow for ever, and the newest former keys are kept.
    #[test]
    fn former_keys_are_bounded() {
        let mut current = value(json!({}));
        for round in 0..1000 {
            current = replace(
                Some(&current),
                object([(&format!("k{round}"), PluginValue::Bool(true))]),
            );
        }

        let PluginValue::Object(map) = current else {
            panic!("an object stays an object")
        };
        assert_eq!(map.len(), MAX_FORMER_KEYS + 1);
        assert_eq!(map.get("k999"), Some(&PluginValue::Bool(true)));
        assert_eq!(map.get("k998"), Some(&PluginValue::Null));
        assert_eq!(map.get("k900"), None);
    }

    // A list replaces an object: nothing of the object is left.
    #[test]
    fn another_type_replaces_an_object() {
        let old = value(json!({"a": 1}));

        assert_eq!(replace(Some(&old), value(json!([1]))), value(json!([1])));
        assert_eq!(replace(None, PluginValue::Null), PluginValue::Null);
    }
}

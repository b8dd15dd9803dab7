//! The plugin's settings: attributes of its tag in `app.nemo`. All have defaults.
//!
//! ```xml
//! <app>
//!   <plugins>
//!     <plugin name="nemo-bridge" land="message.**, order.*" forward="order.*" />
//!   </plugins>
//! </app>
//! ```

use std::time::Duration;

use indexmap::IndexMap;
use nemo_bridge_client::Filter;
use nemo_plugin_api::PluginValue;

/// The name of the plugin in `<plugin name="…" />`: Nemo derives it from the name of the library's file.
pub const PLUGIN_NAME: &str = "nemo-bridge";

/// How the plugin behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Patterns of the event types that are stored in the data repository; `None`: what the bridge says.
    pub land: Option<Filter>,
    /// Patterns of the event types that are emitted into the application's own bus, too.
    pub forward: Filter,
    /// The name of the application on the bus; `None`: the client's default.
    pub source: Option<String>,
    /// The endpoint for publishers; `None`: as the client finds it.
    pub publish: Option<String>,
    /// The endpoint for subscribers; `None`: as the client finds it.
    pub subscribe: Option<String>,
    /// The files of the own key pair and of the bus' public key, for a closed bus; `None`: as the client finds them.
    pub keys: Option<(String, String)>,
    /// How long a call waits for its answer where it says nothing else.
    pub timeout: Duration,
    /// How many answers to calls that name no place are kept at least.
    pub answers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            land: None,
            forward: Filter::any([]),
            source: None,
            publish: None,
            subscribe: None,
            keys: None,
            timeout: Duration::from_secs(30),
            answers: 100,
        }
    }
}

impl Settings {
    /// Read the settings from the configuration's `app.plugins`, a list of tags with their attributes.
    ///
    /// # Returns
    ///
    /// The settings, and a message for each attribute that could not be used; its default is in effect then.
    pub fn read(plugins: Option<&PluginValue>) -> (Self, Vec<String>) {
        let mut settings = Self::default();
        let mut complaints = Vec::new();
        let mut keys = (None, None);
        for (key, value) in attributes(plugins) {
            let result = match key {
                "key" => text(key, value).map(|file| keys.0 = Some(file)),
                "server_key" => text(key, value).map(|file| keys.1 = Some(file)),
                _ => settings.set(key, value),
            };
            complaints.extend(result.err());
        }
        settings.keys = match keys {
            (Some(own), Some(server)) => Some((own, server)),
            (None, None) => None,
            _ => {
                complaints.push("a closed bus needs both 'key' and 'server-key'".to_owned());
                None
            }
        };
        let complaints = complaints
            .into_iter()
            .map(|reason| {
                format!(
                    "{reason} (attribute of <plugin name=\"{PLUGIN_NAME}\" />); the default is used"
                )
            })
            .collect();
        (settings, complaints)
    }

    fn set(&mut self, key: &str, value: &PluginValue) -> Result<(), String> {
        match key {
            "name" | "load" => {}
            "land" => self.land = Some(patterns(key, value)?),
            "forward" => self.forward = patterns(key, value)?,
            "source" => self.source = Some(text(key, value)?),
            "publish" => self.publish = Some(text(key, value)?),
            "subscribe" => self.subscribe = Some(text(key, value)?),
            "timeout_ms" => {
                self.timeout = Duration::from_millis(number(key, value, 1, 86_400_000)?)
            }
            "answers" => {
                self.answers = usize::try_from(number(key, value, 1, 10_000)?).unwrap_or(usize::MAX)
            }
            _ => {
                return Err(format!(
                    "there is no '{}'; there are land, forward, source, publish, subscribe, key, server-key, timeout-ms and answers",
                    key.replace('_', "-")
                ));
            }
        }
        Ok(())
    }
}

/// Return the attributes of this plugin's tag. Nemo has turned `-` in their names into `_`.
fn attributes(plugins: Option<&PluginValue>) -> impl Iterator<Item = (&str, &PluginValue)> {
    let tags = match plugins {
        Some(PluginValue::Array(tags)) => tags.as_slice(),
        _ => &[],
    };
    tags.iter()
        .filter_map(|tag| match tag {
            PluginValue::Object(tag) => Some(tag),
            _ => None,
        })
        .find(|tag| is_ours(tag))
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

fn is_ours(tag: &IndexMap<String, PluginValue>) -> bool {
    // Nemo compares the names in this way.
    matches!(tag.get("name"), Some(PluginValue::String(name)) if name.replace('_', "-") == PLUGIN_NAME)
}

fn text(key: &str, value: &PluginValue) -> Result<String, String> {
    match value {
        PluginValue::String(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(format!("'{}' is no text", key.replace('_', "-"))),
    }
}

fn number(key: &str, value: &PluginValue, least: u64, most: u64) -> Result<u64, String> {
    match value {
        PluginValue::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
    .filter(|number| (least..=most).contains(number))
    .ok_or_else(|| {
        format!(
            "'{}' is an integer from {least} to {most}",
            key.replace('_', "-")
        )
    })
}

/// Read patterns from a text with commas between them, or from a list.
fn patterns(key: &str, value: &PluginValue) -> Result<Filter, String> {
    let wrong = |reason: &str| {
        format!(
            "'{key}' is one pattern of event types or several, such as \"message.**, order.*\"{reason}"
        )
    };
    let texts: Vec<&str> = match value {
        PluginValue::String(text) => text.split(',').collect(),
        PluginValue::Array(items) => items
            .iter()
            .map(|item| match item {
                PluginValue::String(text) => Ok(text.as_str()),
                _ => Err(wrong("")),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong("")),
    };
    let filters = texts
        .into_iter()
        .map(|text| Filter::parse(text.trim()).map_err(|error| wrong(&format!(": {error}"))))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Filter::any(filters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::from_json;
    use serde_json::json;

    fn read(tag: serde_json::Value) -> (Settings, Vec<String>) {
        Settings::read(Some(&from_json(
            json!([{"name": "other", "land": "x"}, tag]),
        )))
    }

    fn filters(patterns: &[&str]) -> Filter {
        Filter::any(
            patterns
                .iter()
                .map(|pattern| Filter::glob(pattern).expect("a pattern")),
        )
    }

    // Without any configuration the defaults are in effect, and so is a tag with a name only.
    #[test]
    fn defaults_need_nothing() {
        assert_eq!(Settings::read(None), (Settings::default(), vec![]));
        assert_eq!(
            read(json!({"name": "nemo-bridge"})),
            (Settings::default(), vec![])
        );
        assert_eq!(
            Settings::read(Some(&PluginValue::Integer(1))).0,
            Settings::default()
        );
    }

    // Every attribute is read, as Nemo's parser hands it over: numbers as integers, a list as text or as a list.
    #[test]
    fn attributes_are_read() {
        let (settings, complaints) = read(json!({
            "name": "nemo_bridge", "load": true, "land": "message.**, order.*", "forward": ["order.*"],
            "source": "desk", "publish": "tcp://127.0.0.1:1", "subscribe": "tcp://127.0.0.1:2",
            "key": "keys/desk.key_secret", "server_key": "keys/bridge.key", "timeout_ms": 500, "answers": 5
        }));

        assert_eq!(complaints, [""; 0]);
        assert_eq!(
            settings,
            Settings {
                land: Some(filters(&["message.**", "order.*"])),
                forward: filters(&["order.*"]),
                source: Some("desk".to_owned()),
                publish: Some("tcp://127.0.0.1:1".to_owned()),
                subscribe: Some("tcp://127.0.0.1:2".to_owned()),
                keys: Some((
                    "keys/desk.key_secret".to_owned(),
                    "keys/bridge.key".to_owned()
                )),
                timeout: Duration::from_millis(500),
                answers: 5,
            }
        );
    }

    // What cannot be used is told, one message each, and leaves the default.
    #[test]
    fn wrong_attributes_are_told() {
        let (settings, complaints) = read(json!({
            "name": "nemo-bridge", "lands": "x", "land": "a..b", "forward": 7, "source": "",
            "timeout_ms": 0, "answers": "many", "key": "x"
        }));

        assert_eq!(settings, Settings::default());
        assert_eq!(complaints.len(), 7, "{complaints:#?}");
        for expected in [
            "there is no 'lands'; there are land, forward",
            "'timeout-ms' is an integer from 1 to 86400000",
        ] {
            assert!(
                complaints
                    .iter()
                    .any(|complaint| complaint.starts_with(expected)),
                "{complaints:#?}"
            );
        }
    }
}

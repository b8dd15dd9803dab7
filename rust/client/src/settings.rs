//! What a client needs to know: where the bus is, who we are, which keys and limits to use.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::curve::Curve;
use crate::endpoint::{self, Address};
use crate::errors::SetupError;
use crate::notice::Notice;
use crate::random::random_name;

/// Where the bus is, and how to use it. The default is the user's default bus, as a sidecar without settings hosts it.
///
/// ```
/// use nemo_bridge_client::Settings;
///
/// let settings = Settings::default()
///     .publish("tcp://127.0.0.1:5556")
///     .subscribe("tcp://127.0.0.1:5557")
///     .source("shop");
/// ```
#[derive(Clone)]
pub struct Settings {
    publish: Option<String>,
    subscribe: Option<String>,
    source: Option<String>,
    curve: Option<Curve>,
    on_notice: Arc<NoticeHandler>,
    max_message: usize,
    send_queue: usize,
    receive_queue: usize,
    silence: Duration,
}

type NoticeHandler = dyn Fn(&Notice) + Send + Sync;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            publish: None,
            subscribe: None,
            source: None,
            curve: None,
            on_notice: Arc::new(|_| {}),
            max_message: 1 << 20,
            send_queue: 100_000,
            receive_queue: 10_000,
            silence: Duration::from_secs(15),
        }
    }
}

impl Settings {
    /// Reads the settings from the variables that the sidecar's commands read, too.
    ///
    /// | variable | meaning |
    /// | --- | --- |
    /// | `NEMO_BUS_PUBLISH` | the endpoint for publishers |
    /// | `NEMO_BUS_SUBSCRIBE` | the endpoint for subscribers |
    /// | `NEMO_BUS_KEY` | our key pair for a closed bus: the file `NAME.key_secret` |
    /// | `NEMO_BUS_SERVER_KEY` | the public key of the closed bus: a `.key` file |
    ///
    /// # Errors
    ///
    /// A key file cannot be used, only one of the two is named, or a variable is not UTF-8.
    pub fn from_env() -> Result<Settings, SetupError> {
        let text = |name: &str| match env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => {
                Err(SetupError::new(format!("{name} is not UTF-8")))
            }
        };
        let file = |name: &str| {
            env::var_os(name)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        let curve = match (file("NEMO_BUS_KEY"), file("NEMO_BUS_SERVER_KEY")) {
            (Some(own), Some(server)) => Some(Curve::read(own, server)?),
            (None, None) => None,
            _ => {
                return Err(SetupError::new(
                    "a closed bus needs both NEMO_BUS_KEY and NEMO_BUS_SERVER_KEY",
                ));
            }
        };
        Ok(Settings {
            publish: text("NEMO_BUS_PUBLISH")?,
            subscribe: text("NEMO_BUS_SUBSCRIBE")?,
            curve,
            ..Settings::default()
        })
    }

    /// Sets the endpoint for publishers: `ipc:///path/to/socket` or `tcp://127.0.0.1:port`.
    #[must_use]
    pub fn publish(mut self, endpoint: impl Into<String>) -> Settings {
        self.publish = Some(endpoint.into());
        self
    }

    /// Sets the endpoint for subscribers.
    #[must_use]
    pub fn subscribe(mut self, endpoint: impl Into<String>) -> Settings {
        self.subscribe = Some(endpoint.into());
        self
    }

    /// Sets the `source` of our events; the default is `client/` and a random name.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Settings {
        self.source = Some(source.into());
        self
    }

    /// Sets the keys for a closed bus.
    #[must_use]
    pub fn curve(mut self, curve: Curve) -> Settings {
        self.curve = Some(curve);
        self
    }

    /// Sets who is told what happens to the connection. It is called by threads of the client, and must not block.
    #[must_use]
    pub fn on_notice(mut self, handler: impl Fn(&Notice) + Send + Sync + 'static) -> Settings {
        self.on_notice = Arc::new(handler);
        self
    }

    /// Sets the bytes of the largest event, as configured on the bus; the default is 1 MiB.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Settings {
        self.max_message = bytes;
        self
    }

    /// Sets how many events may wait for the bus; the default is 100,000. With more, emitting fails.
    #[must_use]
    pub fn send_queue(mut self, events: usize) -> Settings {
        self.send_queue = events;
        self
    }

    /// Sets how many events may wait in each subscription; the default is 10,000. Of more, the oldest are dropped, and
    /// the subscription says how many.
    #[must_use]
    pub fn receive_queue(mut self, events: usize) -> Settings {
        self.receive_queue = events;
        self
    }

    /// Sets after which time without a sign of life a bridge counts as lost; the default is 15 s, three of its usual
    /// heartbeats.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Settings {
        self.silence = silence;
        self
    }

    /// Checks the settings and fills in what is missing.
    pub(crate) fn check(self) -> Result<Checked, SetupError> {
        let closed = self.curve.is_some();
        let (publish, subscribe) = endpoint::defaults();
        let publish = endpoint::parse(&self.publish.unwrap_or(publish), closed)?;
        let subscribe = endpoint::parse(&self.subscribe.unwrap_or(subscribe), closed)?;
        if publish == subscribe {
            return Err(SetupError::new(format!(
                "bus endpoints: publish and subscribe are both {publish}"
            )));
        }
        let name = random_name();
        let own = self
            .curve
            .as_ref()
            .map_or_else(|| "client".to_owned(), Curve::own_type_prefix);
        let source = self.source.unwrap_or_else(|| format!("client/{name}"));
        if crate::client::is_bridge(&source) {
            return Err(SetupError::new(format!(
                "source {source:?}: only a bridge has this name"
            )));
        }
        Ok(Checked {
            publish,
            subscribe,
            source,
            own: format!("{own}.{name}"),
            name,
            curve: self.curve,
            on_notice: self.on_notice,
            max_message: self.max_message,
            send_queue: self.send_queue,
            receive_queue: self.receive_queue.max(1),
            silence: self.silence,
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.debug_struct("Settings")
            .field("publish", &self.publish)
            .field("subscribe", &self.subscribe)
            .field("source", &self.source)
            .field("curve", &self.curve)
            .field("max_message", &self.max_message)
            .field("send_queue", &self.send_queue)
            .field("receive_queue", &self.receive_queue)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

/// Settings that can work.
pub(crate) struct Checked {
    pub(crate) publish: Address,
    pub(crate) subscribe: Address,
    pub(crate) source: String,
    /// The first segments of event types that only we publish.
    pub(crate) own: String,
    /// A name that no other client has.
    pub(crate) name: String,
    pub(crate) curve: Option<Curve>,
    pub(crate) on_notice: Arc<NoticeHandler>,
    pub(crate) max_message: usize,
    pub(crate) send_queue: usize,
    pub(crate) receive_queue: usize,
    pub(crate) silence: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Settings that cannot work are refused when the client is made, with the reason.
    #[test]
    fn refused() {
        let same = Settings::default()
            .publish("tcp://127.0.0.1:1")
            .subscribe("tcp://127.0.0.1:1");
        assert!(same.check().err().unwrap().to_string().contains("both"));
        for source in ["bridge", "bridge/second"] {
            assert!(
                Settings::default()
                    .source(source)
                    .check()
                    .err()
                    .unwrap()
                    .to_string()
                    .contains("only a bridge")
            );
        }
        assert!(Settings::default().publish("http://x").check().is_err());
    }

    // Each client has a name of its own.
    #[test]
    fn names() {
        let first = Settings::default().check().unwrap();
        let second = Settings::default().check().unwrap();
        assert_ne!(first.source, second.source);
        assert_ne!(first.own, second.own);
    }
}

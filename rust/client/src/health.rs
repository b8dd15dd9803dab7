//! The health of bridges and their integrations, and bridges that are silent.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize as _;
use serde_json::Value;

use crate::client::{Handle, is_bridge};
use crate::contract::{BridgeHealth, FabricHealth, IntegrationHealth, NodeHealth};
use crate::errors::RecvError;
use crate::event::Event;
use crate::filter::Filter;
use crate::inbox::{Arrived, Inbox, Taken};
use crate::sync::after;

const PREFIX: &str = "health.";
const BRIDGE: &str = "bridge";
const FABRIC: &str = "fabric.";
const NODE: &str = "node.";
/// The status of a bridge of which nothing is known any more. A bridge never says it of itself.
pub const LOST: &str = "lost";
/// Bridges that are watched at the same time.
const MOST_BRIDGES: usize = 1024;

/// The state of a bridge or of one of its integrations.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// `bridge`, an integration's label, or, of what is said of a fabric, `fabric.<fabric>` or `node.<node>`.
    pub id: String,
    /// The bridge that says it; `None` for all bridges, where there is no connection to the bus.
    pub source: Option<String>,
    /// The bus contract's `status`, or [`LOST`].
    pub status: String,
    /// What is wrong, if anything.
    pub error: Option<String>,
    /// The whole payload of the bus contract; null with [`LOST`].
    pub payload: Value,
}

impl Health {
    /// Returns what a bridge says of itself, or `None` where this is another state, or [`LOST`].
    pub fn bridge(&self) -> Option<BridgeHealth> {
        if self.id == BRIDGE {
            BridgeHealth::deserialize(&self.payload).ok()
        } else {
            None
        }
    }

    /// Returns what a bridge says of an integration, or `None` where this is another state.
    pub fn integration(&self) -> Option<IntegrationHealth> {
        if self.id == BRIDGE || self.id.contains('.') {
            None
        } else {
            IntegrationHealth::deserialize(&self.payload).ok()
        }
    }

    /// Returns what a bridge says of itself in a fabric, or `None` where this is another state.
    pub fn fabric(&self) -> Option<FabricHealth> {
        self.id
            .starts_with(FABRIC)
            .then(|| FabricHealth::deserialize(&self.payload).ok())
            .flatten()
    }

    /// Returns what a bridge says of a node of a fabric, or `None` where this is another state.
    pub fn node(&self) -> Option<NodeHealth> {
        self.id
            .starts_with(NODE)
            .then(|| NodeHealth::deserialize(&self.payload).ok())
            .flatten()
    }
}

/// The health of everything on the bus; [`Client::health`](crate::Client::health) makes it.
///
/// It begins with the current state. A bridge without a sign of life is told as [`LOST`], once, and so is the loss of the
/// connection to the bus; what comes after it is known again. A slow program misses states that are over, but never the
/// last one of each integration.
pub struct HealthStream {
    handle: Arc<Handle>,
    inbox: Arc<Inbox>,
    /// When each bridge was heard last; those that are told as lost are not in it.
    heard: HashMap<Option<String>, Instant>,
    silence: Duration,
}

impl HealthStream {
    pub(crate) fn new(handle: Arc<Handle>) -> HealthStream {
        let shared = &handle.shared;
        let inbox = shared.join(Inbox::new(
            Filter::prefix(PREFIX),
            shared.receive_queue(),
            true,
        ));
        let silence = shared.silence();
        HealthStream {
            handle,
            inbox,
            heard: HashMap::new(),
            silence,
        }
    }

    /// Waits for the next state.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`]; [`RecvError::Missed`] where more integrations change than events may wait.
    pub fn recv(&mut self) -> Result<Health, RecvError> {
        self.take(None)
    }

    /// Waits for the next state, for some time at most.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Health, RecvError> {
        self.take(Some(after(timeout)))
    }

    /// Returns the next state, if there is one already.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn try_recv(&mut self) -> Result<Health, RecvError> {
        self.take(Some(Instant::now()))
    }

    fn take(&mut self, until: Option<Instant>) -> Result<Health, RecvError> {
        loop {
            let silent = self
                .heard
                .values()
                .min()
                .and_then(|heard| heard.checked_add(self.silence));
            match self.inbox.take([until, silent].into_iter().flatten().min()) {
                Taken::Event(arrived) if is_said_by_bridge(&arrived.event) => {
                    return Ok(self.read(*arrived));
                }
                // Any program may emit an event of this type, but it knows nothing of a bridge's state.
                Taken::Event(_) => continue,
                Taken::Missed(count) => return Err(RecvError::Missed(count)),
                Taken::Closed => return Err(RecvError::Closed),
                Taken::Disconnected => {
                    self.heard.clear();
                    return Ok(lost(None, "there is no connection to the bus".to_owned()));
                }
                Taken::Nothing => {}
            }
            if let Some(source) = self.take_silent() {
                return Ok(lost(
                    source,
                    format!("no sign of life for {:?}", self.silence),
                ));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Err(RecvError::Empty);
            }
        }
    }

    fn read(&mut self, arrived: Arrived) -> Health {
        let Event {
            event_type,
            source,
            payload,
            ..
        } = arrived.event;
        let text = |key: &str| payload.get(key).and_then(Value::as_str).map(str::to_owned);
        let id = event_type
            .strip_prefix(PREFIX)
            .unwrap_or(&event_type)
            .to_owned();
        let status = text("status").unwrap_or_default();
        let error = match payload.get("error") {
            Some(Value::Object(error)) => error
                .get("message")
                .and_then(Value::as_str)
                .map(str::to_owned),
            _ => text("error"),
        };
        if id == BRIDGE {
            if status == "stopped" {
                self.heard.remove(&source);
            } else if self.heard.len() < MOST_BRIDGES || self.heard.contains_key(&source) {
                self.heard.insert(source.clone(), arrived.at);
            }
        }
        Health {
            id,
            source,
            status,
            error,
            payload,
        }
    }

    /// Takes out a bridge that was silent for too long.
    fn take_silent(&mut self) -> Option<Option<String>> {
        let now = Instant::now();
        let silent = self
            .heard
            .iter()
            .find(|(_, heard)| now.duration_since(**heard) >= self.silence)
            .map(|(source, _)| source.clone())?;
        self.heard.remove(&silent);
        Some(silent)
    }
}

fn is_said_by_bridge(event: &Event) -> bool {
    event.source.as_deref().is_some_and(is_bridge)
}

fn lost(source: Option<String>, error: String) -> Health {
    Health {
        id: BRIDGE.to_owned(),
        source,
        status: LOST.to_owned(),
        error: Some(error),
        payload: Value::Null,
    }
}

impl Drop for HealthStream {
    fn drop(&mut self) {
        self.handle.shared.leave(&self.inbox);
    }
}

impl fmt::Debug for HealthStream {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.debug_struct("HealthStream")
            .field("heard", &self.heard.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Client, Settings};

    fn stream(client: &Client) -> HealthStream {
        let mut stream = client.health();
        let begin = stream.try_recv().map(|health| health.status);
        assert_eq!(begin.as_deref(), Ok(LOST));
        stream
    }

    fn client() -> Client {
        let settings = Settings::default()
            .publish("ipc:///nowhere/p")
            .subscribe("ipc:///nowhere/s")
            .silence(Duration::MAX);
        Client::connect(settings).expect("endpoints that can be used")
    }

    fn put(stream: &HealthStream, event_type: &str, source: &str) {
        let event = Event::new(event_type, json!({"status": "ready"})).with_source(source);
        stream.inbox.put(event, 10);
    }

    // Only a bridge says how a bridge and its integrations are; another program that says it is not believed.
    #[test]
    fn states_that_no_bridge_says() {
        let client = client();
        let mut stream = stream(&client);
        put(&stream, "health.bridge", "app");
        put(&stream, "health.shop", "bridge/second");
        put(&stream, "health.shop", "bridges");

        let shop = stream.try_recv().map(|health| (health.id, health.source));

        assert_eq!(
            shop,
            Ok(("shop".to_owned(), Some("bridge/second".to_owned())))
        );
        assert_eq!(stream.try_recv(), Err(RecvError::Empty));
        assert_eq!(stream.heard.len(), 0);
    }

    // A fabric and its nodes are no integrations, and each state is read as what it is.
    #[test]
    fn states_of_a_fabric() {
        let client = client();
        let mut stream = stream(&client);
        let node = json!({
            "node": "desk-9", "fabric": "plant", "status": "lost", "previous": "connected", "since": 1,
            "bridge": "bridge", "version": "0.1.0", "integrations": {"printer": "connected"}, "offers": ["printer"],
        });
        let counts = json!({
            "exported": 1, "imported": 2, "duplicates": 0, "garbage": 0, "missed": 0, "served": 0,
        });
        let fabric = json!({
            "fabric": "plant", "integration": "cluster", "node": "desk-7", "status": "connected", "previous": null,
            "since": 1, "delivery": "at_least_once", "error": null, "warnings": [], "nodes": {"desk-9": "lost"},
            "counts": counts,
        });
        for (event_type, payload) in [
            ("health.node.desk-9", node),
            ("health.fabric.plant", fabric),
        ] {
            let event = Event::new(event_type, payload).with_source("bridge");
            stream.inbox.put(event, 10);
        }

        let first = stream.try_recv().expect("the state of the node");
        assert_eq!(
            (first.id.as_str(), first.status.as_str()),
            ("node.desk-9", "lost")
        );
        assert_eq!(
            first.node().map(|node| node.offers),
            Some(vec!["printer".to_owned()])
        );
        assert_eq!(
            (first.integration(), first.fabric(), first.bridge()),
            (None, None, None)
        );

        let second = stream.try_recv().expect("the state of the fabric");
        assert_eq!(
            second.fabric().map(|fabric| fabric.counts.imported),
            Some(2)
        );
        assert_eq!((second.integration(), second.node()), (None, None));
    }

    // With more bridges than are watched, those that are watched stay so, however often they are heard. A silence of any
    // length can be set.
    #[test]
    fn too_many_bridges() {
        let client = client();
        let mut stream = stream(&client);
        for round in 0..2 {
            for number in 0..=MOST_BRIDGES {
                put(&stream, "health.bridge", &format!("bridge/{number}"));
                assert!(stream.try_recv().is_ok(), "{round} {number}");
            }
        }

        assert_eq!(stream.heard.len(), MOST_BRIDGES);
        assert!(stream.heard.contains_key(&Some("bridge/0".to_owned())));
    }
}

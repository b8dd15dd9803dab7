//! The bus as the client of this project reaches it.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nemo_bridge_client::{
    CallError, CallOptions, Client, Curve, EmitError, Filter, HealthStream, Notice, PendingCall,
    RecvError, SetupError, Subscription,
};
use serde_json::{Value, json};

use crate::entry::{Call, Emit};
use crate::session::{Bus, PendingAnswer, Received, Refusal};
use crate::settings::Settings;

/// Be on the bus.
pub struct ClientBus {
    client: Client,
    events: Subscription,
    health: HealthStream,
    notices: Receiver<Notice>,
}

impl ClientBus {
    /// Join the bus. This returns at once; connections are made in the background.
    ///
    /// The environment says where the bus is (`NEMO_BUS_*`), and a setting of the plugin says it before that.
    ///
    /// # Errors
    ///
    /// An endpoint or a key file cannot be used; the text says which and why.
    pub fn join(settings: &Settings) -> Result<Self, SetupError> {
        let (tell, notices) = channel();
        let mut joining = nemo_bridge_client::Settings::from_env()?.on_notice(move |notice| {
            // Nobody listens any more once the session has ended.
            let _ = tell.send(notice.clone());
        });
        if let Some(publish) = &settings.publish {
            joining = joining.publish(publish);
        }
        if let Some(subscribe) = &settings.subscribe {
            joining = joining.subscribe(subscribe);
        }
        if let Some(source) = &settings.source {
            joining = joining.source(source);
        }
        if let Some((key, server_key)) = &settings.keys {
            joining = joining.curve(Curve::read(key, server_key)?);
        }
        let client = Client::connect(joining)?;
        let events = match &settings.land {
            Some(patterns) => Filter::any([patterns.clone(), settings.forward.clone()]),
            // What the bridge says may have any type.
            None => Filter::prefix(""),
        };
        Ok(Self {
            events: client.subscribe(events),
            health: client.health(),
            client,
            notices,
        })
    }
}

impl Bus for ClientBus {
    type Pending = PendingCall;

    fn source(&self) -> &str {
        self.client.source()
    }

    fn emit(&mut self, event: &Emit) -> Result<(), Refusal> {
        self.client
            .emit(&event.event_type, event.payload.clone())
            .map_err(refusal)
    }

    fn start_call(&mut self, call: &Call, timeout: Duration) -> Result<PendingCall, Refusal> {
        let mut options = CallOptions::default().timeout(timeout);
        if call.once {
            options = options.once();
        }
        let payload = call.payload.clone();
        match call.integration.as_str() {
            "bridge" => {
                self.client
                    .start_command(&format!("bridge.{}", call.operation), payload, options)
            }
            integration => self
                .client
                .start_call(integration, &call.operation, payload, options),
        }
        .map_err(refusal)
    }

    fn receive(&mut self, limit: Duration) -> Option<Received> {
        if let Ok(notice) = self.notices.try_recv() {
            return Some(Received::Notice(notice));
        }
        match self.health.try_recv() {
            Ok(health) => return Some(Received::Health(health)),
            Err(RecvError::Missed(count)) => return Some(Received::Missed(count)),
            Err(RecvError::Empty | RecvError::Closed) => {}
        }
        match self.events.recv_timeout(limit) {
            Ok(event) => Some(Received::Event(event)),
            Err(RecvError::Missed(count)) => Some(Received::Missed(count)),
            Err(RecvError::Empty) => None,
            Err(RecvError::Closed) => {
                // It does not wait by itself any more.
                std::thread::sleep(limit);
                None
            }
        }
    }
}

impl PendingAnswer for PendingCall {
    fn poll(&mut self) -> Option<Value> {
        Some(match self.try_wait()? {
            Ok(response) => response.event.payload,
            Err(CallError::Failed(failure)) => failure.event.payload,
            Err(error) => {
                let kind = match error {
                    CallError::NoAnswer { .. } => "deadline",
                    _ => "not_connected",
                };
                json!({"ok": false, "error": {"kind": kind, "message": error.to_string(), "retryable": false}})
            }
        })
    }
}

fn refusal(error: EmitError) -> Refusal {
    match error {
        EmitError::Full(_) => Refusal::Full,
        other => Refusal::Invalid(other.to_string()),
    }
}

//! Calls: a command, and its response.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::client::Handle;
use crate::contract::{self, ErrorKind, ErrorObject, Success};
use crate::errors::EmitError;
use crate::event::Event;

/// How a call is made.
///
/// ```
/// use std::time::Duration;
/// use nemo_bridge_client::CallOptions;
///
/// let options = CallOptions::default().timeout(Duration::from_secs(5));
/// let charge_once = CallOptions::default().once();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOptions {
    pub(crate) timeout: Duration,
    pub(crate) key: Key,
    pub(crate) headers: BTreeMap<String, String>,
}

/// The idempotency key of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Fresh,
    Given(String),
    None,
}

impl Default for CallOptions {
    /// 30 seconds, and an idempotency key that no other call has.
    fn default() -> CallOptions {
        CallOptions {
            timeout: Duration::from_secs(30),
            key: Key::Fresh,
            headers: BTreeMap::new(),
        }
    }
}

impl CallOptions {
    /// Sets the total time, retries included. The bridge begins nothing after it, and answers `deadline`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> CallOptions {
        self.timeout = timeout;
        self
    }

    /// Sets the idempotency key. The bridge runs a key once, and answers a repeated one from its memory, for ten minutes
    /// and longer in an outbox.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> CallOptions {
        self.key = Key::Given(key.into());
        self
    }

    /// Sends the command once, without an idempotency key: for what must not be repeated at the remote.
    ///
    /// A key tells the bridge that it may try the call again at the remote after an error that leaves open whether the
    /// remote has acted. Without one it does not, and a command that is lost on the bus is not sent again.
    #[must_use]
    pub fn once(mut self) -> CallOptions {
        self.key = Key::None;
        self
    }

    /// Adds a header to the command, as `traceparent`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> CallOptions {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// What a command was answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The result, as the bus contract has it for the operation.
    pub result: Value,
    /// How many attempts the bridge made.
    pub attempts: u64,
    /// How long the bridge took.
    pub duration: Duration,
    /// The whole event of the response.
    pub event: Event,
}

/// A call has no result.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The bridge answered with an error.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// Nobody answered in time. The command may have been run all the same.
    #[error("no response to {event_type} within {waited:?}{}", because(.bus.as_deref()))]
    NoAnswer {
        /// The type of the command.
        event_type: String,
        /// The time limit.
        waited: Duration,
        /// What is wrong with the connection to the bus, if anything.
        bus: Option<String>,
    },
    /// The command was not sent.
    #[error(transparent)]
    NotSent(#[from] EmitError),
    /// The client was closed before an answer came. The command may have been run all the same.
    #[error("the client was closed before the answer came")]
    Closed,
}

impl CallError {
    /// Returns the kind of error that the bridge answered with, if it did.
    pub fn kind(&self) -> Option<&ErrorKind> {
        match self {
            CallError::Failed(failure) => Some(&failure.error.kind),
            _ => None,
        }
    }
}

/// The error that the bridge answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What went wrong.
    pub error: ErrorObject,
    /// How many attempts the bridge made.
    pub attempts: u64,
    /// The whole event of the response.
    pub event: Event,
}

impl Failure {
    /// Returns how long to wait before trying again makes sense, if the bridge says so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.error.retry_after_ms.map(Duration::from_millis)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "{}: {}", self.error.kind, self.error.message)
    }
}

fn because(bus: Option<&str>) -> String {
    bus.map(|why| format!("; {why}")).unwrap_or_default()
}

/// Reads the answer in a response; `None` where it is none.
pub(crate) fn read_answer(event: Event) -> Option<Result<Response, Box<Failure>>> {
    if event.payload.get("ok")?.as_bool()? {
        let Success {
            result,
            attempts,
            duration_ms,
            ..
        } = Success::deserialize(&event.payload).ok()?;
        let duration = Duration::try_from_secs_f64(duration_ms / 1000.0).unwrap_or_default();
        return Some(Ok(Response {
            result,
            attempts,
            duration,
            event,
        }));
    }
    let contract::Failure {
        error, attempts, ..
    } = contract::Failure::deserialize(&event.payload).ok()?;
    Some(Err(Box::new(Failure {
        error,
        attempts,
        event,
    })))
}

/// A call that was begun. Dropping it gives the call up: the command may be run, but is not sent again.
pub struct PendingCall {
    pub(crate) handle: Arc<Handle>,
    pub(crate) correlation_id: String,
    pub(crate) answer: Receiver<Result<Response, CallError>>,
}

impl PendingCall {
    /// Waits until the call has ended. It ends one second after its time limit at the latest.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn wait(self) -> Result<Response, CallError> {
        self.answer.recv().unwrap_or(Err(CallError::Closed))
    }

    /// Waits until the call has ended, or a time is up. Returns `None` while it has not ended; what it has returned once
    /// it does not return again.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<Response, CallError>> {
        match self.answer.recv_timeout(timeout) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(CallError::Closed)),
        }
    }

    /// Returns how the call has ended, or `None` while it has not; what it has returned once it does not return again.
    pub fn try_wait(&self) -> Option<Result<Response, CallError>> {
        match self.answer.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(CallError::Closed)),
        }
    }

    /// The correlation id of the command and its response.
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.handle.shared.forget_call(&self.correlation_id);
    }
}

impl fmt::Debug for PendingCall {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.debug_struct("PendingCall")
            .field("correlation_id", &self.correlation_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::ErrorCode;
    use serde_json::json;

    fn read(payload: Value) -> Option<Result<Response, Box<Failure>>> {
        read_answer(Event::new("response.x", payload))
    }

    // A success has its result, and an error what the contract says of it.
    #[test]
    fn answers() {
        let payload =
            json!({"ok": true, "result": [1], "attempts": 2, "duration_ms": 1.5, "new": 1});
        let response = read(payload).unwrap().unwrap();
        assert_eq!((response.result, response.attempts), (json!([1]), 2));
        assert_eq!(response.duration, Duration::from_micros(1500));
        let error = json!({"kind": "throttled", "message": "slow", "retryable": true, "retry_after_ms": 250, "code": 429});
        let payload = json!({"ok": false, "error": error, "attempts": 1, "duration_ms": 1});
        let failure = read(payload).unwrap().unwrap_err();
        assert_eq!(failure.error.kind, ErrorKind::Throttled);
        assert_eq!(failure.retry_after(), Some(Duration::from_millis(250)));
        assert_eq!(failure.error.code, Some(ErrorCode::Integer(429)));
        assert_eq!(failure.to_string(), "throttled: slow");
    }

    // A kind of a later version is kept by its name.
    #[test]
    fn unknown_kinds() {
        let error = json!({"kind": "moon", "message": "x", "retryable": false});
        let payload = json!({"ok": false, "error": error, "attempts": 0, "duration_ms": 0});
        let failure = read(payload).unwrap().unwrap_err();
        assert_eq!(failure.error.kind, ErrorKind::Other("moon".to_owned()));
    }

    // What is no answer is none, whatever its types.
    #[test]
    fn no_answers() {
        for payload in [
            json!(null),
            json!([]),
            json!({}),
            json!({"ok": 1}),
            json!({"ok": false}),
            json!({"ok": false, "result": 1, "attempts": 1, "duration_ms": 1}),
            json!({"ok": true, "result": 1, "attempts": -1, "duration_ms": 1}),
        ] {
            assert!(read(payload).is_none());
        }
        let odd = read(json!({"ok": true, "result": 1, "attempts": 1, "duration_ms": -5.0}))
            .unwrap()
            .unwrap();
        assert_eq!(odd.duration, Duration::ZERO);
    }
}

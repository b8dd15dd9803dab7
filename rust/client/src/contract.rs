//! Types of the payloads on the bus.
//!
//! `scripts/schemas` writes this file from `schemas/`: change nothing here. A reader leaves alone
//! what it does not know: unknown properties are skipped, and an unknown value of an enumeration is
//! kept as `Other`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The payload of a response: a result of type `R`, or an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Response<R> {
    /// The operation has succeeded.
    Success(Success<R>),
    /// The operation has failed.
    Failure(Failure),
}

/// Counts of an integration's operations since the start; `accepted` is the sum of all the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Accounting {
    /// Operations that were accepted.
    pub accepted: u64,
    /// Those that ended with a result.
    pub succeeded: u64,
    /// Those that ended with an error after an attempt.
    pub failed: u64,
    /// Those that became dead letters.
    pub dead_lettered: u64,
    /// Those that ended because their deadline had passed.
    pub expired: u64,
    /// Those that ended without an attempt: the circuit was open, the queue full, or the bridge
    /// stopping.
    pub shed: u64,
    /// Those that have a running attempt now.
    pub in_flight: u64,
    /// Those that wait now, also in the outbox.
    pub queued: u64,
}

/// `ack`: acknowledge a message, so that it is not delivered again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AckCommand {
    /// The `message_id` with which the message was delivered.
    pub message_id: String,
    /// Ignored; `ack` and `nack` have the same payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// The command that made a subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Asked {
    /// The name of the program that emitted it.
    pub source: Option<String>,
    /// When it was executed, Unix time in milliseconds.
    pub timestamp: u64,
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeConfigurationCommand {}

/// Selects dead letters for `bridge.dead_letters`, `bridge.replay` or `bridge.discard`; without
/// arguments all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeDeadLettersCommand {
    /// Only those of this integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<String>,
    /// Only those with these `letter_id`s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// At most this many, the oldest first; `bridge.dead_letters` returns at most 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only those after this `letter_id`, which is the last one of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Selects dead letters for `bridge.dead_letters`, `bridge.replay` or `bridge.discard`; without
/// arguments all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeDiscardCommand {
    /// Only those of this integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<String>,
    /// Only those with these `letter_id`s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// At most this many, the oldest first; `bridge.dead_letters` returns at most 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only those after this `letter_id`, which is the last one of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeFleetCommand {}

/// `bridge.forget_node`: remove a node that has left a fabric for good, and what the fabric keeps
/// for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeForgetNodeCommand {
    /// The name of the node. A node that is alive is not forgotten.
    pub node: String,
    /// The fabric's label; all fabrics of this bridge if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<String>,
}

/// The state of the bridge, emitted on every change, as a heartbeat, and for each new subscriber.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BridgeHealth {
    /// Its status.
    pub status: BridgeStatus,
    /// The program's version.
    pub version: String,
    /// Its name in the configuration.
    pub name: String,
    /// Its process id.
    pub pid: u64,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Counts of its use of the bus.
    pub bus: BusCounts,
    /// The content of its outbox.
    pub outbox: OutboxCounts,
    /// The status of each integration, by label.
    pub integrations: BTreeMap<String, ConnectionStatus>,
}

/// `bridge.inspect`: ask for all that is known of one integration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeInspectCommand {
    /// Its label.
    pub integration: String,
}

/// `bridge.match`: ask what this bridge would do with an event. Nothing is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeMatchCommand {
    /// The event's type.
    pub event_type: String,
    /// Its payload. With it the conditions of the routes (`where`) are evaluated; all else that
    /// they read of the event is taken from the command itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeOverviewCommand {}

/// Any value.
pub type BridgePingCommand = Value;

/// Reads the configuration again, for `bridge.reload`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeReloadCommand {
    /// Only report what would change; nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// Selects dead letters for `bridge.dead_letters`, `bridge.replay` or `bridge.discard`; without
/// arguments all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeReplayCommand {
    /// Only those of this integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<String>,
    /// Only those with these `letter_id`s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// At most this many, the oldest first; `bridge.dead_letters` returns at most 100 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only those after this `letter_id`, which is the last one of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The status of the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BridgeStatus {
    /// `degraded`.
    Degraded,
    /// `draining`.
    Draining,
    /// `ready`.
    Ready,
    /// `starting`.
    Starting,
    /// `stopped`.
    Stopped,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl BridgeStatus {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for BridgeStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeStatusCommand {}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeSubscriptionsCommand {}

/// A bucket of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bucket {
    /// Its upper limit in milliseconds; null for the last one, which has none.
    pub up_to_ms: Option<f64>,
    /// How many operations are in it and in no bucket before it.
    pub count: u64,
}

/// Counts of the bridge's use of the bus since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BusCounts {
    /// Events that were received.
    pub received: u64,
    /// Events that were published.
    pub published: u64,
    /// Messages that were not accepted.
    pub rejected: u64,
    /// How often events were missing of a source that numbers them.
    pub gaps: u64,
    /// How many events were missing in all.
    pub missing: u64,
    /// The bridge's own events that were lost before they were sent.
    pub dropped: u64,
}

/// Events of a source that numbers them (`headers.seq`) did not arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BusGap {
    /// The source.
    pub source: String,
    /// How many events since the last such event.
    pub missing: u64,
}

/// Messages on the bus were rejected; emitted at most once a second for each reason, sender's key
/// and event type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BusRejected {
    /// What was wrong with them.
    pub reason: Reason,
    /// How many messages since the last such event.
    pub count: u64,
    /// What exactly was wrong with the last one; it contains nothing of the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// On a closed bus, the fingerprint of the sender's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// With `echo`, the type of these events; left out where there are too many types to report
    /// each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
}

/// The event that caused an operation; part of each resilience event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cause {
    /// The name of the program that emitted it.
    pub source: Option<String>,
    /// Its number.
    pub id: u64,
    /// Its type.
    pub event_type: String,
}

/// What changes in the blocks of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// Blocks that are new.
    pub added: Vec<String>,
    /// Blocks that are gone.
    pub removed: Vec<String>,
    /// Blocks that are in both, with the keys that change: `{"resilience.timeout": ["2s", "5s"]}`.
    /// Values are written as in a file, expressions as text. A key that one side lacks is null
    /// there. A secret is `"***"` on both sides.
    pub changed: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
}

/// The circuit breaker after the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Circuit {
    /// Its state.
    pub state: CircuitState,
}

/// The circuit breaker changed its state. Each change is emitted once, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CircuitChange {
    /// The integration's label.
    pub integration: String,
    /// The operation that caused it.
    pub operation: String,
    /// The event that asked for that operation.
    pub cause: Cause,
    /// The state before.
    pub from: CircuitState,
    /// The state now.
    pub to: CircuitState,
    /// Consecutive failures so far.
    pub failures: u64,
    /// Milliseconds until it half-opens; null unless it opened by itself.
    pub retry_after_ms: Option<u64>,
    /// The failure that opened it; null where it closes, or a command changed it.
    pub error: Option<ErrorObject>,
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CircuitForceOpenCommand {}

/// A change of the circuit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CircuitMoment {
    /// When, Unix time in milliseconds.
    pub at: u64,
    /// The state that it came to.
    pub state: CircuitState,
    /// The failure that opened it; null where it closed, or a command changed it.
    pub error: Option<ErrorObject>,
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CircuitResetCommand {}

/// The breaker's state, as `circuit` of `health.<id>` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CircuitState {
    /// `closed`.
    Closed,
    /// `half_open`.
    HalfOpen,
    /// `open`.
    Open,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl CircuitState {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `status` of `health.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// `connected`.
    Connected,
    /// `connecting`.
    Connecting,
    /// `degraded`.
    Degraded,
    /// `disconnected`.
    Disconnected,
    /// `failed`.
    Failed,
    /// `paused`.
    Paused,
    /// `stopped`.
    Stopped,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl ConnectionStatus {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Degraded => "degraded",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for ConnectionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A person has asked for something in the console: what, who, and how it ended. Refused ones are
/// told as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConsoleAction {
    /// The operation, as `pause`, `replay` or `reload`.
    pub action: String,
    /// The integration's label; null where none was named.
    pub integration: Option<String>,
    /// Address and port of the browser, or of the proxy before the bridge.
    pub by: String,
    /// Whether it was done.
    pub ok: bool,
    /// Why it was not done, or refused.
    pub error: Option<ErrorObject>,
    /// Of `reload`: whether it was only to report what would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Of `replay` and `discard`: how many dead letters were moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<u64>,
    /// How many refused actions this event stands for, where more came than are reported one by
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// An accepted event became a dead letter; it is stored until a person replays or discards it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The integration's label.
    pub integration: String,
    /// The operation's name.
    pub operation: String,
    /// The event that asked for it.
    pub cause: Cause,
    /// Its id for `bridge.dead_letters`, `bridge.replay` and `bridge.discard`.
    pub letter_id: String,
    /// The event.
    pub event: LetterEvent,
    /// Why it failed.
    pub error: ErrorObject,
    /// True where the remote may have acted on the call: it has not answered, and the call must not
    /// be repeated.
    pub unknown: bool,
    /// How many attempts were made.
    pub attempts: u64,
    /// The failed attempts, oldest first; of more than 100 the first 10 and the last 90.
    pub history: Vec<FailedAttempt>,
    /// True where payload and history are left out, because they do not fit on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
}

/// Something goes on, but not as it was asked for. `health.<id>` has the same text under
/// `warnings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Degraded {
    /// The integration's label.
    pub integration: String,
    /// Always null: no operation failed.
    pub operation: Option<Value>,
    /// Always null: no event asked for it.
    pub cause: Option<Value>,
    /// What the text is about; a later event with the same name replaces it.
    pub warning: String,
    /// One line for a person.
    pub text: String,
}

/// How often an event of a fabric may come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delivery {
    /// `at_least_once`.
    AtLeastOnce,
    /// `at_most_once`.
    AtMostOnce,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl Delivery {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::AtLeastOnce => "at_least_once",
            Self::AtMostOnce => "at_most_once",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `dequeue`: take one message from a queue; it stays unacknowledged until `ack` or `nack`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DequeueCommand {
    /// The queue.
    pub queue: String,
    /// Milliseconds to wait for a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Milliseconds after which an unacknowledged message is delivered again, where the protocol
    /// can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility_ms: Option<u64>,
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DrainCommand {}

/// `enqueue`: append a message to a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnqueueCommand {
    /// The queue.
    pub queue: String,
    /// The message's content.
    pub message: Value,
    /// Headers to send with the message, where the protocol has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

/// A message that the queue has stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Enqueued {
    /// The message's id in the queue.
    pub message_id: String,
}

/// The remote's own error code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorCode {
    /// Of type `integer`.
    Integer(i64),
    /// Of type `string`.
    String(String),
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// `auth`.
    Auth,
    /// `circuit_open`.
    CircuitOpen,
    /// `connection_lost`.
    ConnectionLost,
    /// `deadline`.
    Deadline,
    /// `invalid`.
    Invalid,
    /// `not_connected`.
    NotConnected,
    /// `not_supported`.
    NotSupported,
    /// `overloaded`.
    Overloaded,
    /// `protocol`.
    Protocol,
    /// `rejected`.
    Rejected,
    /// `stopping`.
    Stopping,
    /// `throttled`.
    Throttled,
    /// `timeout`.
    Timeout,
    /// `unavailable`.
    Unavailable,
    /// `unknown_integration`.
    UnknownIntegration,
    /// `unknown_operation`.
    UnknownOperation,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl ErrorKind {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Auth => "auth",
            Self::CircuitOpen => "circuit_open",
            Self::ConnectionLost => "connection_lost",
            Self::Deadline => "deadline",
            Self::Invalid => "invalid",
            Self::NotConnected => "not_connected",
            Self::NotSupported => "not_supported",
            Self::Overloaded => "overloaded",
            Self::Protocol => "protocol",
            Self::Rejected => "rejected",
            Self::Stopping => "stopping",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::UnknownIntegration => "unknown_integration",
            Self::UnknownOperation => "unknown_operation",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What went wrong. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorObject {
    /// What happened; a closed list.
    pub kind: ErrorKind,
    /// One line for a person.
    pub message: String,
    /// Whether the same call may be tried again, now or later.
    pub retryable: bool,
    /// The remote's own error code, as it sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The remote's own error data, as it sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Milliseconds to wait before trying again makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What a node of a fabric has sent and received since its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FabricCounts {
    /// Events of this bus that the broker has taken.
    pub exported: u64,
    /// Events of other nodes that were put on this bus.
    pub imported: u64,
    /// Events that came again and were not put on the bus a second time.
    pub duplicates: u64,
    /// Messages on the fabric's subjects and keys that no bridge has written.
    pub garbage: u64,
    /// Events, at most, that were removed from the stream before this node had them.
    pub missed: u64,
    /// Commands of other nodes that this one has executed.
    pub served: u64,
}

/// State of this bridge in a fabric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FabricHealth {
    /// The fabric's label.
    pub fabric: String,
    /// The integration that carries it.
    pub integration: String,
    /// The name of this bridge in it.
    pub node: String,
    /// `connecting`: it has not joined yet. `connected`: it is a node. `degraded`: it is, but
    /// `error` or `warnings` say what is wrong. `disconnected`: the broker cannot be reached or
    /// does not answer; it is tried again. `failed`: a person is needed, as where another living
    /// bridge has the same name. `stopped`: it left.
    pub status: FabricStatus,
    /// The status before; null at first.
    pub previous: Option<FabricStatus>,
    /// When the status became so, Unix time in milliseconds.
    pub since: u64,
    /// How events are carried.
    pub delivery: Delivery,
    /// Why it is not `connected`; null where it is.
    pub error: Option<ErrorObject>,
    /// What a person should know although it works, one line each.
    pub warnings: Vec<String>,
    /// The other nodes and their status.
    pub nodes: BTreeMap<String, NodeStatus>,
    /// What was sent and received.
    pub counts: FabricCounts,
}

/// Events of other nodes were removed from the stream before this node had them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FabricMissed {
    /// The fabric's label.
    pub fabric: String,
    /// This node.
    pub node: String,
    /// How many, at most; events that it does not import count, too.
    pub count: u64,
}

/// Messages on the fabric's subjects or keys that no bridge can have written were ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FabricRejected {
    /// The fabric's label.
    pub fabric: String,
    /// How many since the last report.
    pub count: u64,
    /// What was wrong with the last one.
    pub detail: String,
}

/// A fabric, as one line of the overview.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FabricRow {
    /// Its label.
    pub fabric: String,
    /// The integration that carries it.
    pub integration: String,
    /// The name of this bridge in it.
    pub node: String,
    /// See `health.fabric.<fabric>`.
    pub status: FabricStatus,
    /// When the status began, Unix time in milliseconds.
    pub since: u64,
    /// Why it is not connected; null where it is.
    pub error: Option<ErrorObject>,
    /// How many warnings its health has.
    pub warnings: u64,
    /// How many nodes it has, this bridge among them; those that have left in order do not count.
    pub nodes: u64,
    /// How many of these are connected.
    pub connected: u64,
    /// How many of these are lost.
    pub lost: u64,
}

/// The status of this bridge in a fabric.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FabricStatus {
    /// `connected`.
    Connected,
    /// `connecting`.
    Connecting,
    /// `degraded`.
    Degraded,
    /// `disconnected`.
    Disconnected,
    /// `failed`.
    Failed,
    /// `stopped`.
    Stopped,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl FabricStatus {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Degraded => "degraded",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for FabricStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A fabric in the answer to `bridge.fleet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FabricView {
    /// The payload of `health.fabric.<fabric>`.
    pub health: FabricHealth,
    /// All nodes by name, this bridge too.
    pub nodes: BTreeMap<String, FleetNode>,
    /// The integrations of others that this bridge uses, and the nodes that offer each and are
    /// connected.
    pub uses: BTreeMap<String, Vec<String>>,
    /// The `singleton` subscriptions of this bridge whose lease no node has had for 15 seconds, as
    /// far as it knows: nobody emits for them.
    pub vacant: Vec<String>,
    /// How many nodes are left out here, because all of them would not fit on the bus. Those that
    /// are lost are left out last. Where any is, other lists may be shorter, too.
    pub left_out: u64,
}

/// An operation failed, and there will be no further attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failed {
    /// The integration's label; `bridge` for a command to the bridge itself.
    pub integration: String,
    /// The operation's name.
    pub operation: String,
    /// The event that asked for it; null for a message from outside that could not become an event.
    pub cause: Option<Cause>,
    /// How many attempts were made.
    pub attempts: u64,
    /// Why the last attempt failed, or why there was none.
    pub error: ErrorObject,
    /// Of a message from outside: where it came from; only the beginning of a long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Of messages from outside: how many this event stands for, where more than one within a
    /// second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// One attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// When it began, Unix time in milliseconds.
    pub at: u64,
    /// How many milliseconds it took.
    pub duration_ms: f64,
    /// Why it failed.
    pub error: ErrorObject,
}

/// An operation that failed after at least one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedOperation {
    /// When it ended, Unix time in milliseconds.
    pub at: u64,
    /// Its name.
    pub operation: String,
    /// The route that asked for it; null for a command.
    pub route: Option<String>,
    /// The event that asked for it.
    pub cause: Cause,
    /// That of the event.
    pub correlation_id: Option<String>,
    /// The context of its trace: the operation's own where traces are written, else that of the
    /// event.
    pub traceparent: Option<String>,
    /// Whether it is stored in the outbox, which may try it again.
    pub durable: bool,
    /// How many attempts were made.
    pub attempts: u64,
    /// Milliseconds from acceptance to the end.
    pub duration_ms: f64,
    /// Why the last attempt failed.
    pub error: ErrorObject,
    /// The failed attempts, oldest first; of more than 20 the first ten and the last ten.
    pub history: Vec<FailedAttempt>,
}

/// The operation has failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// Always false.
    pub ok: bool,
    /// The last error.
    pub error: ErrorObject,
    /// How many attempts were made; 0 where it was rejected before the first.
    pub attempts: u64,
    /// Milliseconds from acceptance to the end.
    pub duration_ms: f64,
    /// The route that caused the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

/// The result of `bridge.fleet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fleet {
    /// The fabrics of this bridge by label.
    pub fabrics: BTreeMap<String, FabricView>,
}

/// A node in the answer to `bridge.fleet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FleetNode {
    /// See `health.node.<node>`.
    pub status: NodeStatus,
    /// When the status became so, Unix time in milliseconds.
    pub since: u64,
    /// Milliseconds since its last heartbeat came; null for this bridge itself.
    pub heard_ms: Option<f64>,
    /// The name of the bridge that the node is.
    pub bridge: String,
    /// Its version.
    pub version: String,
    /// Its integrations and their status; of a node that is gone, the last that was heard.
    pub integrations: BTreeMap<String, ConnectionStatus>,
    /// Those that the others may use.
    pub offers: Vec<String>,
    /// The `singleton` subscriptions for which it holds the lease; none of a node that is gone.
    pub leases: Vec<String>,
    /// How many of its integrations are left out here, because all of them would not fit on the
    /// bus. Those that are connected are left out first.
    pub left_out: u64,
}

/// The result of `bridge.forget_node`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// The fabrics that have forgotten the node.
    pub fabrics: Vec<String>,
}

/// A message from outside was delivered as often as is allowed, and the application has never
/// acknowledged it. A Redis entry was moved to the stream `<queue>:dead`, JetStream will not
/// deliver the message again, and on MQTT it was acknowledged: there this event is the only copy
/// that is left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GivenUp {
    /// The integration's label.
    pub integration: String,
    /// Always `subscribe`.
    pub operation: String,
    /// Always null: no event asked for it.
    pub cause: Option<Value>,
    /// The message, as it was delivered last.
    pub message: Message,
    /// Why it is not delivered again.
    pub error: ErrorObject,
}

/// The result of `bridge.inspect`: all that is known of one integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inspection {
    /// When it was made, Unix time in milliseconds.
    pub at: u64,
    /// It, as a line of the overview.
    pub row: IntegrationRow,
    /// The payload of `health.<id>`.
    pub health: IntegrationHealth,
    /// How many attempts were begun since the start.
    pub attempts: u64,
    /// How many of these were not the first one of their operation.
    pub retries: u64,
    /// How often an operation ended with an error, by the error's kind.
    pub failures: BTreeMap<String, u64>,
    /// Of each operation, by its name: how long it took, since the start.
    pub durations: BTreeMap<String, Vec<Bucket>>,
    /// The last 50 operations that failed after an attempt, the newest first; fewer where these
    /// would not fit on the bus.
    pub failed: Vec<FailedOperation>,
    /// The last 50 changes of the circuit, the newest first.
    pub circuit: Vec<CircuitMoment>,
    /// The routes that use it.
    pub routes: Vec<RouteRow>,
    /// Its subscriptions.
    pub subscriptions: Vec<LiveSubscription>,
    /// The oldest 50 dead letters; fewer where these would not fit on the bus.
    pub dead_letters: Vec<Letter>,
    /// Its settings; secrets are masked.
    pub configuration: BTreeMap<String, Value>,
}

/// The state of an integration, emitted on every change, as a heartbeat, and for each new
/// subscriber.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IntegrationHealth {
    /// Its label.
    pub integration: String,
    /// Its protocol.
    pub r#type: String,
    /// Its status.
    pub status: ConnectionStatus,
    /// The status before; null where there was no other.
    pub previous: Option<ConnectionStatus>,
    /// When the status began, Unix time in milliseconds.
    pub since: u64,
    /// The circuit breaker's state.
    pub circuit: CircuitState,
    /// Milliseconds that the last successful health check took; null before the first.
    pub latency_ms: Option<f64>,
    /// How many operations have a running attempt.
    pub in_flight: u64,
    /// How many operations wait, also in the outbox.
    pub queued: u64,
    /// Why it is not connected; null where it is.
    pub error: Option<ErrorObject>,
    /// Counts of its operations since the start.
    pub accounting: Accounting,
    /// How many messages have come from outside since the start.
    pub messages: u64,
    /// How many messages from outside could not become an event.
    pub dropped: u64,
    /// How often it has connected again after the first time.
    pub reconnects: u64,
    /// What a person should know although it works, one line each: what the configuration allows
    /// that is not safe, and what the current connection has shown, for example that the remote
    /// granted less than was asked.
    pub warnings: Vec<String>,
    /// Those that are not live while it is connected, by name; at most 20.
    pub subscriptions: BTreeMap<String, SubscriptionHealth>,
}

/// An integration, as one line of the overview.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IntegrationRow {
    /// Its label.
    pub integration: String,
    /// Its protocol.
    pub r#type: String,
    /// Its status.
    pub status: ConnectionStatus,
    /// When the status began, Unix time in milliseconds.
    pub since: u64,
    /// The circuit breaker's state.
    pub circuit: CircuitState,
    /// Why it is not connected, or why its circuit is not closed; null where all is well.
    pub error: Option<ErrorObject>,
    /// How many operations have a running attempt.
    pub in_flight: u64,
    /// How many operations wait, those of the outbox not counted.
    pub queued: u64,
    /// How many of its operations wait in the outbox.
    pub pending: u64,
    /// How many dead letters it has.
    pub dead_letters: u64,
    /// How many messages from outside could not become an event.
    pub dropped: u64,
    /// How many warnings its health has.
    pub warnings: u64,
    /// How many of its subscriptions are not live.
    pub unwell: u64,
    /// How much happens now.
    pub rates: Rates,
    /// What happened in the last 15 minutes; left out where nothing did, or where all of it would
    /// not fit on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

/// A `singleton` subscription has another leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeaseChange {
    /// The fabric's label.
    pub fabric: String,
    /// The subscription.
    pub subscription: String,
    /// The node that has the lease now; null: this node has lost it, and does not know who has it.
    pub node: Option<String>,
    /// The node that had it before; null: nobody, or it is not known.
    pub previous: Option<String>,
    /// The number of the term: the revision of the lease when it was taken.
    pub term: u64,
    /// Milliseconds in which nobody is known to have had it; null where nobody had it before.
    pub gap_ms: Option<f64>,
}

/// A stored dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Letter {
    /// Its id for `bridge.replay` and `bridge.discard`.
    pub letter_id: String,
    /// The integration's label.
    pub integration: String,
    /// The route that asked for the operation.
    pub route: String,
    /// The operation's name.
    pub operation: String,
    /// The caller's key, or the one that the bridge made; a replay uses it again.
    pub idempotency_key: String,
    /// When the event was accepted, Unix time in milliseconds.
    pub accepted_ms: u64,
    /// When it became a dead letter, Unix time in milliseconds.
    pub at: u64,
    /// Why it failed.
    pub error: ErrorObject,
    /// True where the remote may have acted on the call.
    pub unknown: bool,
    /// How many attempts were made.
    pub attempts: u64,
    /// The failed attempts, oldest first; of more than 100 the first 10 and the last 90.
    pub history: Vec<FailedAttempt>,
    /// The event.
    pub event: LetterEvent,
    /// True where payload and history are left out, because they do not fit on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
}

/// The event of a dead letter, as it came by the bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterEvent {
    /// Its number.
    pub id: u64,
    /// Its type.
    pub event_type: String,
    /// Its payload; null where the letter is `cut`.
    pub payload: Value,
    /// Unix time in milliseconds.
    pub timestamp: u64,
    /// The name of the program that emitted it.
    pub source: Option<String>,
    /// Its correlation id.
    pub correlation_id: Option<String>,
    /// Its headers.
    pub headers: Option<BTreeMap<String, String>>,
}

/// Dead letters, oldest first, as many as were asked for and fit on the bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterList {
    /// The dead letters; the last one's `letter_id` is the `after` of the next page.
    pub letters: Vec<Letter>,
    /// How many match in all, from `after` on.
    pub total: u64,
}

/// A subscription of an integration; it lasts until `unsubscribe`, or until the bridge ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LiveSubscription {
    /// Its name, for `unsubscribe`.
    pub subscription: String,
    /// Its topic or queue; only the beginning of a long one.
    pub topic: String,
    /// Whether that is a queue.
    pub queue: bool,
    /// The type of its events, or the expression that makes it; null for `message.<id>`.
    pub emit: Option<String>,
    /// How many messages have come from its topic or queue since the bridge subscribed to it.
    pub messages: u64,
    /// The command that made it; null for one of the configuration.
    pub asked: Option<Asked>,
}

/// The configuration with which the bridge runs: all keys with their values, defaults too, secrets
/// as `"***"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoadedConfiguration {
    /// The files and directories from which it was read; empty where it did not come from files.
    pub files: Vec<String>,
    /// The `integration` blocks by label, each with its keys; one inside of a block has a dot.
    pub integrations: BTreeMap<String, BTreeMap<String, Value>>,
    /// The `route` blocks by label.
    pub routes: BTreeMap<String, BTreeMap<String, Value>>,
    /// The `subscription` blocks by label.
    pub subscriptions: BTreeMap<String, BTreeMap<String, Value>>,
    /// The `fabric` blocks by label.
    pub fabrics: BTreeMap<String, BTreeMap<String, Value>>,
    /// The blocks `bridge`, `log` and `bus`.
    pub settings: BTreeMap<String, BTreeMap<String, Value>>,
    /// How many events wait in the outbox, by integration.
    pub pending: BTreeMap<String, u64>,
}

/// What this bridge does with an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Matched {
    /// Whether it is a command that this bridge executes.
    pub command: bool,
    /// Whether it stops this bridge (`stop_with`).
    pub stops: bool,
    /// Why it is refused, if it is a command of the bus contract which no bridge executes; else
    /// null.
    pub error: Option<ErrorObject>,
    /// The routes whose `on` matches its type, in the order of the configuration.
    pub routes: Vec<RouteMatch>,
}

/// A message from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// The topic that it was published to; no pattern.
    pub topic: String,
    /// Its content.
    pub message: Value,
    /// Its headers; empty where the protocol has none. `traceparent`, `tracestate` and `baggage`
    /// are headers of the event instead.
    pub headers: BTreeMap<String, String>,
    /// Its id for `ack` and `nack`, where the application acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// How often it was delivered, where the protocol counts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
}

/// How many dead letters were replayed or discarded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Moved {
    /// The number of dead letters.
    pub moved: u64,
}

/// `nack`: return a message to its queue, to be delivered again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NackCommand {
    /// The `message_id` with which the message was delivered.
    pub message_id: String,
    /// Milliseconds until it is delivered again; at once if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// State of a node of a fabric, as this bridge sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeHealth {
    /// The node's name.
    pub node: String,
    /// The fabric's label.
    pub fabric: String,
    /// `connected`: its heartbeats come. `draining`: it is about to leave and takes no more
    /// commands. `stopped`: it has left in order. `lost`: three heartbeats are missing.
    pub status: NodeStatus,
    /// The status before; null at first.
    pub previous: Option<NodeStatus>,
    /// When the status became so, Unix time in milliseconds.
    pub since: u64,
    /// The name of the bridge that the node is.
    pub bridge: String,
    /// Its version.
    pub version: String,
    /// Its integrations and their status, as it has told last.
    pub integrations: BTreeMap<String, ConnectionStatus>,
    /// Those of them that the others may use.
    pub offers: Vec<String>,
}

/// The status of a node of a fabric.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeStatus {
    /// `connected`.
    Connected,
    /// `draining`.
    Draining,
    /// `lost`.
    Lost,
    /// `stopped`.
    Stopped,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl NodeStatus {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connected => "connected",
            Self::Draining => "draining",
            Self::Lost => "lost",
            Self::Stopped => "stopped",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The result of a command that has none: an empty object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Nothing {}

/// The content of the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutboxCounts {
    /// How many operations wait or run.
    pub pending: u64,
    /// Their size.
    pub bytes: u64,
    /// The age of the oldest in milliseconds.
    pub oldest_ms: u64,
    /// How many dead letters are stored.
    pub dead_letters: u64,
    /// Why the outbox accepts nothing, and the bridge is `degraded`; null where it works.
    pub problem: Option<String>,
    /// What an earlier run had stored and this one did not find; null where all is there.
    pub missing: Option<String>,
}

/// The outbox does not have what an earlier run had stored: its files were cut, removed or
/// replaced. Said after the start that found it, and to each later subscriber.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutboxLoss {
    /// How many transactions are missing.
    pub commits: u64,
    /// How many accepted events were in these; some of them may have been delivered.
    pub entries: u64,
    /// Whether the whole database is another one.
    pub replaced: bool,
}

/// The result of `bridge.overview`: how the bridge and all integrations are, and what happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Overview {
    /// When it was made, Unix time in milliseconds.
    pub at: u64,
    /// The payload of `health.bridge`.
    pub bridge: BridgeHealth,
    /// Events from the bus a second, lately.
    pub received: f64,
    /// Events to the bus a second, lately.
    pub published: f64,
    /// What all integrations do together.
    pub rates: Rates,
    /// What all integrations did together in the last 15 minutes.
    pub series: Series,
    /// What a person should look at, the worst first; at most 100.
    pub problems: Vec<Problem>,
    /// All of them, those that are not well first.
    pub integrations: Vec<IntegrationRow>,
    /// The routes; at most 1,000, and fewer where these would not fit on the bus.
    pub routes: Vec<RouteRow>,
    /// The subscriptions; at most 1,000, and fewer where these would not fit on the bus.
    pub subscriptions: Vec<SubscriptionRow>,
    /// The fabrics, those that are not well first; left out where the bridge is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabrics: Option<Vec<FabricRow>>,
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseCommand {}

/// Something that a person should look at; the same trouble of several integrations is one problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// What it is about. `outbox`: it accepts nothing. `failed`, `disconnected`, `connecting`,
    /// `paused`, `stopped`: the status of integrations. `fabric`: this bridge is not a node of a
    /// fabric, or a part of its work there fails. `nodes`: other nodes of a fabric are lost.
    /// `fabric_warnings`: what a person should know although a fabric works. `circuit`: circuits
    /// that are not closed. `outbox_loss`: what an earlier run had stored is missing. `lost`: own
    /// events that were lost before they were sent. `dropped`: messages from outside that could not
    /// become events. `operations`: many operations fail although the integration is connected.
    /// `subscriptions`: those that are not live. `dead_letters`: those that are stored. `orphans`:
    /// events in the outbox for integrations that do not exist. `waiting`: events that have been in
    /// the outbox for long. `missing`: events of others that were lost on the bus. `rejected`:
    /// messages on the bus that were not accepted. `unheard`: messages that wait because nobody
    /// listens. `slow`: health checks.
    pub kind: ProblemKind,
    /// `error` where something does not work or is lost; `warning` for all else.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub text: String,
    /// When it began, Unix time in milliseconds; of several the first.
    pub since: u64,
    /// Which ones are concerned; none for a problem of the bridge itself.
    pub integrations: Vec<String>,
}

/// What a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// `circuit`.
    Circuit,
    /// `connecting`.
    Connecting,
    /// `dead_letters`.
    DeadLetters,
    /// `disconnected`.
    Disconnected,
    /// `dropped`.
    Dropped,
    /// `fabric`.
    Fabric,
    /// `fabric_warnings`.
    FabricWarnings,
    /// `failed`.
    Failed,
    /// `lost`.
    Lost,
    /// `missing`.
    Missing,
    /// `nodes`.
    Nodes,
    /// `operations`.
    Operations,
    /// `orphans`.
    Orphans,
    /// `outbox`.
    Outbox,
    /// `outbox_loss`.
    OutboxLoss,
    /// `paused`.
    Paused,
    /// `rejected`.
    Rejected,
    /// `slow`.
    Slow,
    /// `stopped`.
    Stopped,
    /// `subscriptions`.
    Subscriptions,
    /// `unheard`.
    Unheard,
    /// `waiting`.
    Waiting,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl ProblemKind {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Circuit => "circuit",
            Self::Connecting => "connecting",
            Self::DeadLetters => "dead_letters",
            Self::Disconnected => "disconnected",
            Self::Dropped => "dropped",
            Self::Fabric => "fabric",
            Self::FabricWarnings => "fabric_warnings",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Missing => "missing",
            Self::Nodes => "nodes",
            Self::Operations => "operations",
            Self::Orphans => "orphans",
            Self::Outbox => "outbox",
            Self::OutboxLoss => "outbox_loss",
            Self::Paused => "paused",
            Self::Rejected => "rejected",
            Self::Slow => "slow",
            Self::Stopped => "stopped",
            Self::Subscriptions => "subscriptions",
            Self::Unheard => "unheard",
            Self::Waiting => "waiting",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `publish`: send a message to a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishCommand {
    /// The topic.
    pub topic: String,
    /// The message's content.
    pub message: Value,
    /// The quality of service, where the protocol has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<u64>,
    /// Whether the broker stores the message for later subscribers, where the protocol has that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<bool>,
    /// Headers to send with the message, where the protocol has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

/// The broker's answer. Which of these are there depends on the protocol, and there may be more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Published {
    /// The stream that stored the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The message's number in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<SequenceNumber>,
    /// How many subscribers the message was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receivers: Option<u64>,
    /// Further properties.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The message that `dequeue` returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueMessage {
    /// Its id for `ack` and `nack`.
    pub message_id: String,
    /// Its content.
    pub message: Value,
    /// How often it was delivered.
    pub attempts: i64,
    /// Its headers, where the protocol has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
}

/// How much happens now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rates {
    /// Operations a second that ended with a result, lately.
    pub succeeded: f64,
    /// Operations a second that ended otherwise, lately.
    pub failed: f64,
    /// Messages from outside a second, lately.
    pub messages: f64,
    /// Half of the operations of the last five minutes were faster; null where there were none. It
    /// is estimated from a histogram, and at most 60,000.
    pub p50_ms: Option<f64>,
    /// 95 of 100 operations of the last five minutes were faster; likewise.
    pub p95_ms: Option<f64>,
}

/// Why messages on the bus were rejected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// `cut`.
    Cut,
    /// `depth`.
    Depth,
    /// `duplicate_key`.
    DuplicateKey,
    /// `echo`.
    Echo,
    /// `extension`.
    Extension,
    /// `forgotten`.
    Forgotten,
    /// `frames`.
    Frames,
    /// `handshake`.
    Handshake,
    /// `hop`.
    Hop,
    /// `missing_key`.
    MissingKey,
    /// `mistyped_key`.
    MistypedKey,
    /// `msgpack`.
    Msgpack,
    /// `not_an_event`.
    NotAnEvent,
    /// `overflow`.
    Overflow,
    /// `refused`.
    Refused,
    /// `size`.
    Size,
    /// `stuck`.
    Stuck,
    /// `type_frame`.
    TypeFrame,
    /// `type_mismatch`.
    TypeMismatch,
    /// `unanswerable`.
    Unanswerable,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl Reason {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cut => "cut",
            Self::Depth => "depth",
            Self::DuplicateKey => "duplicate_key",
            Self::Echo => "echo",
            Self::Extension => "extension",
            Self::Forgotten => "forgotten",
            Self::Frames => "frames",
            Self::Handshake => "handshake",
            Self::Hop => "hop",
            Self::MissingKey => "missing_key",
            Self::MistypedKey => "mistyped_key",
            Self::Msgpack => "msgpack",
            Self::NotAnEvent => "not_an_event",
            Self::Overflow => "overflow",
            Self::Refused => "refused",
            Self::Size => "size",
            Self::Stuck => "stuck",
            Self::TypeFrame => "type_frame",
            Self::TypeMismatch => "type_mismatch",
            Self::Unanswerable => "unanswerable",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The final outcome of an accepted event. The event type names it: `delivered`, `dead_lettered` or
/// `expired`. A receipt may be emitted more than once, always with the same outcome.
/// `dead_lettered` means that the operation has failed for good: for an `at_least_once` route the
/// event is now a dead letter; for any other one `resilience.<id>.failed` has the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The integration's label.
    pub integration: String,
    /// The operation's name.
    pub operation: String,
    /// The caller's key, or for `at_least_once` the one that the bridge made; null if there is
    /// none.
    pub idempotency_key: Option<String>,
    /// The event that was accepted.
    pub cause: Cause,
    /// How many attempts were made.
    pub attempts: u64,
}

/// What reloading the configuration has changed; with `dry_run`, what it would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reloaded {
    /// Integrations that were added; those that a `fabric` block uses, too.
    pub added: Vec<String>,
    /// Integrations that were changed: their blocks, their subscriptions, files that they name, or
    /// the fabric over which they are used.
    pub changed: Vec<String>,
    /// Integrations that were removed.
    pub removed: Vec<String>,
    /// Integrations that stay as they were.
    pub unchanged: Vec<String>,
    /// What changes in `integration` blocks.
    pub integrations: Changes,
    /// What changes in `route` blocks.
    pub routes: Changes,
    /// What changes in `subscription` blocks.
    pub subscriptions: Changes,
    /// What changes in `fabric` blocks.
    pub fabrics: Changes,
    /// Blocks that have changed, too, but take effect only at the next start.
    pub needs_restart: Vec<RestartBlock>,
    /// The changed keys of these blocks.
    pub settings: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
    /// How many events wait in the outbox for each integration that does not exist then. They stay
    /// there until an integration of that name is back.
    pub stranded: BTreeMap<String, u64>,
}

/// `request`: call a method of the remote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestCommand {
    /// The remote's method.
    pub method: String,
    /// Its arguments; if left out, the remote gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Milliseconds that the caller waits in all, retries included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Do not wait for an answer; the result is null when the call is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<bool>,
}

/// A block of the configuration that takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RestartBlock {
    /// `bridge`.
    Bridge,
    /// `bus`.
    Bus,
    /// `log`.
    Log,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl RestartBlock {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bridge => "bridge",
            Self::Bus => "bus",
            Self::Log => "log",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for RestartBlock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The empty payload of commands without arguments, for example `pause`, `circuit.reset` or
/// `bridge.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResumeCommand {}

/// An attempt failed, and another one will follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Retry {
    /// The integration's label.
    pub integration: String,
    /// The operation's name.
    pub operation: String,
    /// The event that asked for it.
    pub cause: Cause,
    /// The number of the attempt that failed, from 1.
    pub attempt: u64,
    /// How many attempts there are at most.
    pub max_attempts: u64,
    /// Milliseconds until the next attempt.
    pub delay_ms: u64,
    /// Why it failed.
    pub error: ErrorObject,
}

/// A route whose `on` matches the type of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RouteMatch {
    /// The route's label.
    pub route: String,
    /// The integration that it calls.
    pub integration: String,
    /// The operation's name.
    pub operation: String,
    /// Whether its condition holds; true where it has none; null where no payload was given, or
    /// where it cannot be evaluated: the event would then be answered with `invalid`.
    pub r#where: Option<bool>,
}

/// A route of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RouteRow {
    /// Its label.
    pub route: String,
    /// The event types that it takes, or patterns of these.
    pub on: Vec<String>,
    /// Where its operations go.
    pub integration: String,
    /// Which operation it asks for.
    pub operation: String,
    /// Whether its events are stored in the outbox first.
    pub durable: bool,
    /// Operations that ended with a result since the start.
    pub succeeded: u64,
    /// Operations that ended with an error since the start.
    pub failed: u64,
    /// Operations a second, lately.
    pub rate: f64,
}

/// The number of a message in its stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SequenceNumber {
    /// Of type `integer`.
    Integer(u64),
    /// Of type `string`.
    String(String),
}

/// How often something happened lately, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Series {
    /// When the last step began, Unix time in milliseconds. That step may not be over.
    pub at: u64,
    /// Milliseconds that each step lasts.
    pub step_ms: u64,
    /// Operations that ended with a result, in each step.
    pub succeeded: Vec<u64>,
    /// Operations that ended otherwise, in each step.
    pub failed: Vec<u64>,
    /// Messages from outside, in each step.
    pub messages: Vec<u64>,
}

/// How bad a problem is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// `error`.
    Error,
    /// `warning`.
    Warning,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl Severity {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Operations ended without an attempt, or without a retry; emitted at most once a second for each
/// reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shed {
    /// The integration's label.
    pub integration: String,
    /// The last of these operations.
    pub operation: String,
    /// The event that asked for that operation.
    pub cause: Cause,
    /// The error's kind, or `retry_budget` where there were too many retries already.
    pub reason: ShedReason,
    /// How many operations since the last such event.
    pub count: u64,
}

/// Why an operation was shed: an error's kind, or `retry_budget`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShedReason {
    /// `auth`.
    Auth,
    /// `circuit_open`.
    CircuitOpen,
    /// `connection_lost`.
    ConnectionLost,
    /// `deadline`.
    Deadline,
    /// `invalid`.
    Invalid,
    /// `not_connected`.
    NotConnected,
    /// `not_supported`.
    NotSupported,
    /// `overloaded`.
    Overloaded,
    /// `protocol`.
    Protocol,
    /// `rejected`.
    Rejected,
    /// `retry_budget`.
    RetryBudget,
    /// `stopping`.
    Stopping,
    /// `throttled`.
    Throttled,
    /// `timeout`.
    Timeout,
    /// `unavailable`.
    Unavailable,
    /// `unknown_integration`.
    UnknownIntegration,
    /// `unknown_operation`.
    UnknownOperation,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl ShedReason {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Auth => "auth",
            Self::CircuitOpen => "circuit_open",
            Self::ConnectionLost => "connection_lost",
            Self::Deadline => "deadline",
            Self::Invalid => "invalid",
            Self::NotConnected => "not_connected",
            Self::NotSupported => "not_supported",
            Self::Overloaded => "overloaded",
            Self::Protocol => "protocol",
            Self::Rejected => "rejected",
            Self::RetryBudget => "retry_budget",
            Self::Stopping => "stopping",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::UnknownIntegration => "unknown_integration",
            Self::UnknownOperation => "unknown_operation",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for ShedReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The payloads of all `health.*` events: one entry for each integration, by its label, and
/// `bridge`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The payload of `health.bridge`.
    pub bridge: BridgeHealth,
    /// All other entries, by their name.
    #[serde(flatten)]
    pub others: BTreeMap<String, IntegrationHealth>,
}

/// `subscribe`: emit an event for each message that is published to a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubscribeCommand {
    /// The topic, or a pattern in the protocol's own language.
    pub topic: String,
    /// The type of the events; `message.<id>` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<String>,
    /// The quality of service, where the protocol has it. All subscriptions to a topic have the
    /// same one: if it differs from that of an existing subscription, the command is `invalid`; if
    /// left out, that one is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<u64>,
}

/// A subscription that the remote has confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Subscribed {
    /// Its name, for `unsubscribe`; the same name for the same topic and `emit`.
    pub subscription: String,
}

/// The state of a subscription that is not live although its integration is connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionHealth {
    /// `connecting`: the remote has not confirmed it yet. `disconnected`: it is tried again within
    /// seconds. `failed`: only a person can help; it is tried again each minute.
    pub status: SubscriptionStatus,
    /// Why; null while it is `connecting`.
    pub error: Option<ErrorObject>,
}

/// A subscription, as the overview has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionRow {
    /// Where its messages come from.
    pub integration: String,
    /// Its name.
    pub subscription: String,
    /// Its topic or queue; only the beginning of a long one.
    pub topic: String,
    /// The type of its events, or the expression that makes it; null for `message.<id>`.
    pub emit: Option<String>,
    /// How many messages have come since the bridge subscribed.
    pub messages: u64,
    /// Messages a second, lately.
    pub rate: f64,
}

/// The status of a subscription that is not live.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubscriptionStatus {
    /// `connecting`.
    Connecting,
    /// `disconnected`.
    Disconnected,
    /// `failed`.
    Failed,
    /// A value that is not in this list: a newer bridge has emitted it.
    #[serde(untagged)]
    Other(String),
}

impl SubscriptionStatus {
    /// Returns the value as it stands on the bus.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connecting => "connecting",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Other(value) => value,
        }
    }
}

impl fmt::Display for SubscriptionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The operation has succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Success<R> {
    /// Always true.
    pub ok: bool,
    /// The command's result.
    pub result: R,
    /// How many attempts were made; 0 where no remote was called.
    pub attempts: u64,
    /// Milliseconds from acceptance to the end.
    pub duration_ms: f64,
    /// The route that caused the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

/// `unsubscribe`: end a subscription by its name, or all subscriptions to a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnsubscribeCommand {
    /// The name that `subscribe` returned, or the label of a `subscription` block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// End all subscriptions to this topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// The payload of a response: ack.
pub type AckResponse = Response<Nothing>;

/// The payload of a response: bridge configuration.
pub type BridgeConfigurationResponse = Response<LoadedConfiguration>;

/// The payload of a response: bridge dead letters.
pub type BridgeDeadLettersResponse = Response<LetterList>;

/// The payload of a response: bridge discard.
pub type BridgeDiscardResponse = Response<Moved>;

/// The payload of a response: bridge fleet.
pub type BridgeFleetResponse = Response<Fleet>;

/// The payload of a response: bridge forget node.
pub type BridgeForgetNodeResponse = Response<Forgotten>;

/// The payload of a response: bridge inspect.
pub type BridgeInspectResponse = Response<Inspection>;

/// The payload of a response: bridge match.
pub type BridgeMatchResponse = Response<Matched>;

/// The payload of a response: bridge overview.
pub type BridgeOverviewResponse = Response<Overview>;

/// The payload of a response: bridge ping.
pub type BridgePingResponse = Response<Value>;

/// The payload of a response: bridge reload.
pub type BridgeReloadResponse = Response<Reloaded>;

/// The payload of a response: bridge replay.
pub type BridgeReplayResponse = Response<Moved>;

/// The payload of a response: bridge status.
pub type BridgeStatusResponse = Response<Status>;

/// The payload of a response: bridge subscriptions.
pub type BridgeSubscriptionsResponse = Response<BTreeMap<String, Vec<LiveSubscription>>>;

/// The payload of a response: circuit force open.
pub type CircuitForceOpenResponse = Response<Circuit>;

/// The payload of a response: circuit reset.
pub type CircuitResetResponse = Response<Circuit>;

/// The payload of a response: dequeue.
pub type DequeueResponse = Response<Option<QueueMessage>>;

/// The payload of a response: drain.
pub type DrainResponse = Response<Nothing>;

/// The payload of a response: enqueue.
pub type EnqueueResponse = Response<Enqueued>;

/// The payload of a response: nack.
pub type NackResponse = Response<Nothing>;

/// The payload of a response: pause.
pub type PauseResponse = Response<Nothing>;

/// The payload of a response: publish.
pub type PublishResponse = Response<Published>;

/// The payload of a response: request.
pub type RequestResponse = Response<Value>;

/// The payload of a response: resume.
pub type ResumeResponse = Response<Nothing>;

/// The payload of a response: route.
pub type RouteResponse = Response<Value>;

/// The payload of a response: subscribe.
pub type SubscribeResponse = Response<Subscribed>;

/// The payload of a response: unsubscribe.
pub type UnsubscribeResponse = Response<Nothing>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    /// Checks that each example of a schema reads as its type and is written as it was.
    fn keeps_examples<T: DeserializeOwned + Serialize>(schema: &str) {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let examples = schema["examples"].as_array().unwrap();
        assert!(!examples.is_empty());
        for example in examples {
            let read: T = serde_json::from_value(example.clone()).unwrap();
            assert_eq!(&serde_json::to_value(read).unwrap(), example);
        }
    }

    // Every example of the schemas reads as its type and is written as it was.
    #[test]
    fn examples_of_the_schemas_are_kept() {
        keeps_examples::<AckCommand>(include_str!("../../../schemas/command/ack.schema.json"));
        keeps_examples::<BridgeConfigurationCommand>(include_str!(
            "../../../schemas/command/bridge.configuration.schema.json"
        ));
        keeps_examples::<BridgeDeadLettersCommand>(include_str!(
            "../../../schemas/command/bridge.dead_letters.schema.json"
        ));
        keeps_examples::<BridgeDiscardCommand>(include_str!(
            "../../../schemas/command/bridge.discard.schema.json"
        ));
        keeps_examples::<BridgeFleetCommand>(include_str!(
            "../../../schemas/command/bridge.fleet.schema.json"
        ));
        keeps_examples::<BridgeForgetNodeCommand>(include_str!(
            "../../../schemas/command/bridge.forget_node.schema.json"
        ));
        keeps_examples::<BridgeInspectCommand>(include_str!(
            "../../../schemas/command/bridge.inspect.schema.json"
        ));
        keeps_examples::<BridgeMatchCommand>(include_str!(
            "../../../schemas/command/bridge.match.schema.json"
        ));
        keeps_examples::<BridgeOverviewCommand>(include_str!(
            "../../../schemas/command/bridge.overview.schema.json"
        ));
        keeps_examples::<BridgePingCommand>(include_str!(
            "../../../schemas/command/bridge.ping.schema.json"
        ));
        keeps_examples::<BridgeReloadCommand>(include_str!(
            "../../../schemas/command/bridge.reload.schema.json"
        ));
        keeps_examples::<BridgeReplayCommand>(include_str!(
            "../../../schemas/command/bridge.replay.schema.json"
        ));
        keeps_examples::<BridgeStatusCommand>(include_str!(
            "../../../schemas/command/bridge.status.schema.json"
        ));
        keeps_examples::<BridgeSubscriptionsCommand>(include_str!(
            "../../../schemas/command/bridge.subscriptions.schema.json"
        ));
        keeps_examples::<CircuitForceOpenCommand>(include_str!(
            "../../../schemas/command/circuit.force_open.schema.json"
        ));
        keeps_examples::<CircuitResetCommand>(include_str!(
            "../../../schemas/command/circuit.reset.schema.json"
        ));
        keeps_examples::<DequeueCommand>(include_str!(
            "../../../schemas/command/dequeue.schema.json"
        ));
        keeps_examples::<DrainCommand>(include_str!("../../../schemas/command/drain.schema.json"));
        keeps_examples::<EnqueueCommand>(include_str!(
            "../../../schemas/command/enqueue.schema.json"
        ));
        keeps_examples::<NackCommand>(include_str!("../../../schemas/command/nack.schema.json"));
        keeps_examples::<PauseCommand>(include_str!("../../../schemas/command/pause.schema.json"));
        keeps_examples::<PublishCommand>(include_str!(
            "../../../schemas/command/publish.schema.json"
        ));
        keeps_examples::<RequestCommand>(include_str!(
            "../../../schemas/command/request.schema.json"
        ));
        keeps_examples::<ResumeCommand>(include_str!(
            "../../../schemas/command/resume.schema.json"
        ));
        keeps_examples::<SubscribeCommand>(include_str!(
            "../../../schemas/command/subscribe.schema.json"
        ));
        keeps_examples::<UnsubscribeCommand>(include_str!(
            "../../../schemas/command/unsubscribe.schema.json"
        ));
        keeps_examples::<BridgeHealth>(include_str!("../../../schemas/health/bridge.schema.json"));
        keeps_examples::<FabricHealth>(include_str!("../../../schemas/health/fabric.schema.json"));
        keeps_examples::<IntegrationHealth>(include_str!(
            "../../../schemas/health/integration.schema.json"
        ));
        keeps_examples::<NodeHealth>(include_str!("../../../schemas/health/node.schema.json"));
        keeps_examples::<Message>(include_str!("../../../schemas/message.schema.json"));
        keeps_examples::<Receipt>(include_str!(
            "../../../schemas/receipt/dead_lettered.schema.json"
        ));
        keeps_examples::<Receipt>(include_str!(
            "../../../schemas/receipt/delivered.schema.json"
        ));
        keeps_examples::<Receipt>(include_str!("../../../schemas/receipt/expired.schema.json"));
        keeps_examples::<ConsoleAction>(include_str!(
            "../../../schemas/resilience/bridge.console_action.schema.json"
        ));
        keeps_examples::<OutboxLoss>(include_str!(
            "../../../schemas/resilience/bridge.outbox_loss.schema.json"
        ));
        keeps_examples::<BusGap>(include_str!(
            "../../../schemas/resilience/bus.gap.schema.json"
        ));
        keeps_examples::<BusRejected>(include_str!(
            "../../../schemas/resilience/bus.rejected.schema.json"
        ));
        keeps_examples::<CircuitChange>(include_str!(
            "../../../schemas/resilience/circuit.closed.schema.json"
        ));
        keeps_examples::<CircuitChange>(include_str!(
            "../../../schemas/resilience/circuit.half_opened.schema.json"
        ));
        keeps_examples::<CircuitChange>(include_str!(
            "../../../schemas/resilience/circuit.opened.schema.json"
        ));
        keeps_examples::<DeadLetter>(include_str!(
            "../../../schemas/resilience/dead_letter.schema.json"
        ));
        keeps_examples::<Degraded>(include_str!(
            "../../../schemas/resilience/degraded.schema.json"
        ));
        keeps_examples::<LeaseChange>(include_str!(
            "../../../schemas/resilience/fabric.lease.schema.json"
        ));
        keeps_examples::<FabricMissed>(include_str!(
            "../../../schemas/resilience/fabric.missed.schema.json"
        ));
        keeps_examples::<FabricRejected>(include_str!(
            "../../../schemas/resilience/fabric.rejected.schema.json"
        ));
        keeps_examples::<Failed>(include_str!(
            "../../../schemas/resilience/failed.schema.json"
        ));
        keeps_examples::<GivenUp>(include_str!(
            "../../../schemas/resilience/given_up.schema.json"
        ));
        keeps_examples::<Retry>(include_str!(
            "../../../schemas/resilience/retry.schema.json"
        ));
        keeps_examples::<Shed>(include_str!("../../../schemas/resilience/shed.schema.json"));
        keeps_examples::<AckResponse>(include_str!("../../../schemas/response/ack.schema.json"));
        keeps_examples::<BridgeConfigurationResponse>(include_str!(
            "../../../schemas/response/bridge.configuration.schema.json"
        ));
        keeps_examples::<BridgeDeadLettersResponse>(include_str!(
            "../../../schemas/response/bridge.dead_letters.schema.json"
        ));
        keeps_examples::<BridgeDiscardResponse>(include_str!(
            "../../../schemas/response/bridge.discard.schema.json"
        ));
        keeps_examples::<BridgeFleetResponse>(include_str!(
            "../../../schemas/response/bridge.fleet.schema.json"
        ));
        keeps_examples::<BridgeForgetNodeResponse>(include_str!(
            "../../../schemas/response/bridge.forget_node.schema.json"
        ));
        keeps_examples::<BridgeInspectResponse>(include_str!(
            "../../../schemas/response/bridge.inspect.schema.json"
        ));
        keeps_examples::<BridgeMatchResponse>(include_str!(
            "../../../schemas/response/bridge.match.schema.json"
        ));
        keeps_examples::<BridgeOverviewResponse>(include_str!(
            "../../../schemas/response/bridge.overview.schema.json"
        ));
        keeps_examples::<BridgePingResponse>(include_str!(
            "../../../schemas/response/bridge.ping.schema.json"
        ));
        keeps_examples::<BridgeReloadResponse>(include_str!(
            "../../../schemas/response/bridge.reload.schema.json"
        ));
        keeps_examples::<BridgeReplayResponse>(include_str!(
            "../../../schemas/response/bridge.replay.schema.json"
        ));
        keeps_examples::<BridgeStatusResponse>(include_str!(
            "../../../schemas/response/bridge.status.schema.json"
        ));
        keeps_examples::<BridgeSubscriptionsResponse>(include_str!(
            "../../../schemas/response/bridge.subscriptions.schema.json"
        ));
        keeps_examples::<CircuitForceOpenResponse>(include_str!(
            "../../../schemas/response/circuit.force_open.schema.json"
        ));
        keeps_examples::<CircuitResetResponse>(include_str!(
            "../../../schemas/response/circuit.reset.schema.json"
        ));
        keeps_examples::<DequeueResponse>(include_str!(
            "../../../schemas/response/dequeue.schema.json"
        ));
        keeps_examples::<DrainResponse>(include_str!(
            "../../../schemas/response/drain.schema.json"
        ));
        keeps_examples::<EnqueueResponse>(include_str!(
            "../../../schemas/response/enqueue.schema.json"
        ));
        keeps_examples::<NackResponse>(include_str!("../../../schemas/response/nack.schema.json"));
        keeps_examples::<PauseResponse>(include_str!(
            "../../../schemas/response/pause.schema.json"
        ));
        keeps_examples::<PublishResponse>(include_str!(
            "../../../schemas/response/publish.schema.json"
        ));
        keeps_examples::<RequestResponse>(include_str!(
            "../../../schemas/response/request.schema.json"
        ));
        keeps_examples::<ResumeResponse>(include_str!(
            "../../../schemas/response/resume.schema.json"
        ));
        keeps_examples::<RouteResponse>(include_str!(
            "../../../schemas/response/route.schema.json"
        ));
        keeps_examples::<SubscribeResponse>(include_str!(
            "../../../schemas/response/subscribe.schema.json"
        ));
        keeps_examples::<Failure>(include_str!(
            "../../../schemas/response/unknown.schema.json"
        ));
        keeps_examples::<UnsubscribeResponse>(include_str!(
            "../../../schemas/response/unsubscribe.schema.json"
        ));
    }

    // An unknown property is skipped, and an unknown value of an enumeration is kept.
    #[test]
    fn a_newer_bridge_can_be_read() {
        let text = r#"{"kind": "tired", "message": "zzz", "retryable": true, "mood": "calm"}"#;
        let read: ErrorObject = serde_json::from_str(text).unwrap();
        assert_eq!(read.kind, ErrorKind::Other("tired".into()));
        assert_eq!(read.kind.to_string(), "tired");
        assert_eq!(serde_json::to_value(read).unwrap()["kind"], "tired");
    }

    // A response reads as a success or a failure, and as neither where it is none.
    #[test]
    fn a_response_is_a_success_or_a_failure() {
        let good = r#"{"ok": true, "result": null, "attempts": 1, "duration_ms": 1.5}"#;
        let read: RequestResponse = serde_json::from_str(good).unwrap();
        assert!(matches!(read, Response::Success(success) if success.result.is_null()));
        let bad = r#"{"ok": false, "error": {"kind": "timeout", "message": "m", "retryable": true},
            "attempts": 1, "duration_ms": 1.5}"#;
        let read: RequestResponse = serde_json::from_str(bad).unwrap();
        let Response::Failure(failure) = read else {
            panic!("a success: {read:?}");
        };
        assert_eq!(failure.error.kind, ErrorKind::Timeout);
        assert!(serde_json::from_str::<RequestResponse>(r#"{"ok": true}"#).is_err());
    }
}

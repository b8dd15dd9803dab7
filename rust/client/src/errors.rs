//! Errors that several parts of the client share.

use thiserror::Error;

/// A value cannot be used; the message has the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidError(String);

impl InvalidError {
    pub(crate) fn new(message: impl Into<String>) -> InvalidError {
        InvalidError(message.into())
    }
}

/// The client's settings cannot work: an endpoint, a key file, or a system without what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SetupError(String);

impl SetupError {
    pub(crate) fn new(message: impl Into<String>) -> SetupError {
        SetupError(message.into())
    }
}

/// An event was not emitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EmitError {
    /// The bus cannot carry it.
    #[error("the event is not valid: {0}")]
    Invalid(#[from] InvalidError),
    /// The bridge has said it, and what the bridge has said is never sent back.
    #[error("an event of the bridge ({0}) is not sent back to it")]
    FromBridge(String),
    /// It was read from the bus, where it is already.
    #[error(
        "an event that was read from the bus is not sent back there; make a new one with `Event::caused_by`"
    )]
    FromBus,
    /// Too many events wait for the bus, because it is not there, or slow.
    #[error("{0} events wait for the bus already, and there is room for no more")]
    Full(usize),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// There is no event to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecvError {
    /// So many events were dropped at this place, because they were not received in time. The next call goes on after
    /// them.
    #[error("{0} events were missed, because they were not received in time")]
    Missed(u64),
    /// None has come in the given time.
    #[error("no event has come in time")]
    Empty,
    /// The client was closed, and nothing waits any more.
    #[error("the client is closed")]
    Closed,
}

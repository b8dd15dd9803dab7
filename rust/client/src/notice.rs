//! What a client tells about itself while it works.

use std::fmt;

/// Something that happened to the client, for the program's log. `to_string` says it to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A connection to the bus is there.
    Connected {
        /// The endpoint.
        endpoint: String,
    },
    /// A connection to the bus was lost, or cannot be made. It is tried again. The same reason is told once.
    Disconnected {
        /// The endpoint.
        endpoint: String,
        /// The reason.
        why: String,
    },
    /// A connection was lost while events were being written to it; so many of them may not have arrived.
    MaybeLost {
        /// How many.
        events: usize,
    },
    /// Messages on the bus were no events; told once a second at most.
    Rejected {
        /// How many since the last notice.
        count: u64,
        /// What is wrong with the last one.
        why: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Connected { endpoint } => write!(text, "connected to the bus at {endpoint}"),
            Notice::Disconnected { endpoint, why } => {
                write!(text, "no connection to the bus at {endpoint}: {why}")
            }
            Notice::MaybeLost { events } => {
                write!(
                    text,
                    "the connection to the bus was lost; {events} events may not have arrived"
                )
            }
            Notice::Rejected { count, why } => {
                write!(
                    text,
                    "{count} messages on the bus were no events; the last: {why}"
                )
            }
        }
    }
}

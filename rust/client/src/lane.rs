//! What waits to be written to one connection.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::sync::{lock, wait};
use crate::zmtp::Encoder;

/// Bytes of events that may wait, whatever their number.
const MOST_BYTES: usize = 64 << 20;
/// Bytes that are written together, about.
const BATCH: usize = 64 << 10;

/// One thing to write.
pub(crate) enum Outgoing {
    Event {
        event_type: String,
        body: Vec<u8>,
    },
    Subscribe(String),
    Cancel(String),
    /// Ends a subscription and begins it again at once: then the bridge says its last values again. A second
    /// subscription alone would let the broker count two, of which it would take only one back.
    Renew(String),
    Ping,
    Pong(Vec<u8>),
}

impl Outgoing {
    fn size(&self) -> usize {
        match self {
            Outgoing::Event { event_type, body } => event_type.len() + body.len(),
            Outgoing::Subscribe(prefix) | Outgoing::Cancel(prefix) | Outgoing::Renew(prefix) => {
                prefix.len()
            }
            Outgoing::Ping | Outgoing::Pong(_) => 0,
        }
    }

    /// Appends it as the bytes of a connection.
    pub(crate) fn write(&self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        match self {
            Outgoing::Event { event_type, body } => encoder.event(out, event_type.as_bytes(), body),
            Outgoing::Subscribe(prefix) => encoder.subscription(out, prefix.as_bytes(), true),
            Outgoing::Cancel(prefix) => encoder.subscription(out, prefix.as_bytes(), false),
            Outgoing::Renew(prefix) => {
                encoder.subscription(out, prefix.as_bytes(), false);
                encoder.subscription(out, prefix.as_bytes(), true);
            }
            Outgoing::Ping => encoder.ping(out),
            Outgoing::Pong(context) => encoder.pong(out, context),
        }
    }
}

/// A queue from any thread to the connection of the moment. Events wait while there is none; all else concerns one
/// connection only.
pub(crate) struct Lane {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    open: bool,
    stopping: bool,
    /// How many batches with more than a PING were written.
    progress: u64,
}

impl Lane {
    /// Creates one in which `most` events may wait.
    pub(crate) fn new(most: usize) -> Lane {
        Lane {
            state: Mutex::default(),
            changed: Condvar::new(),
            most,
        }
    }

    /// How many things wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).queue.len()
    }

    /// Tells whether there is room for an event of this size.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let state = lock(&self.state);
        state.queue.len() < self.most && state.bytes + bytes <= MOST_BYTES
    }

    /// Adds an event, whether there is a connection or not.
    pub(crate) fn push(&self, event: Outgoing) {
        self.add(&mut lock(&self.state), event);
    }

    /// Adds what concerns the connection of the moment; without one, it has no meaning.
    pub(crate) fn push_if_open(&self, outgoing: Outgoing) {
        let mut state = lock(&self.state);
        if !state.open {
            return;
        }
        // Of answers that wait together, the last one says all: the other side lives.
        if matches!(
            (&outgoing, state.queue.back()),
            (Outgoing::Pong(_), Some(Outgoing::Pong(_)))
        ) {
            state.queue.pop_back();
        }
        self.add(&mut state, outgoing);
    }

    fn add(&self, state: &mut State, outgoing: Outgoing) {
        state.bytes += outgoing.size();
        state.queue.push_back(outgoing);
        if state.queue.len() == 1 {
            self.changed.notify_all();
        }
    }

    /// Begins a connection; `first` is written before all else.
    pub(crate) fn open(&self, first: Vec<Outgoing>) {
        let mut state = lock(&self.state);
        for outgoing in first.into_iter().rev() {
            state.bytes += outgoing.size();
            state.queue.push_front(outgoing);
        }
        state.open = true;
        self.changed.notify_all();
    }

    /// Ends the connection; events stay for the next one.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        state
            .queue
            .retain(|outgoing| matches!(outgoing, Outgoing::Event { .. }));
        state.bytes = state.queue.iter().map(Outgoing::size).sum();
        self.changed.notify_all();
    }

    /// Ends the lane: what waits is still written, if there is a connection.
    pub(crate) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }

    /// Tells whether the lane ends.
    pub(crate) fn is_stopping(&self) -> bool {
        lock(&self.state).stopping
    }

    /// Waits until a moment, or until the lane ends.
    pub(crate) fn pause(&self, until: Instant) {
        let mut state = lock(&self.state);
        while !state.stopping && Instant::now() < until {
            state = wait(&self.changed, state, Some(until));
        }
    }

    /// Waits for something to write, and takes about as much as is written together. Returns `None` at the end of the
    /// connection or the lane.
    pub(crate) fn take(&self) -> Option<Vec<Outgoing>> {
        let mut state = lock(&self.state);
        while state.open && state.queue.is_empty() && !state.stopping {
            state = wait(&self.changed, state, None);
        }
        if !state.open || state.queue.is_empty() {
            return None;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH {
            let Some(outgoing) = state.queue.pop_front() else {
                break;
            };
            bytes += outgoing.size() + 16;
            batch.push(outgoing);
        }
        state.bytes -= batch.iter().map(Outgoing::size).sum::<usize>();
        Some(batch)
    }

    /// Notes that a batch was written.
    pub(crate) fn written(&self, batch: &[Outgoing]) {
        if batch
            .iter()
            .any(|outgoing| !matches!(outgoing, Outgoing::Ping))
        {
            lock(&self.state).progress += 1;
        }
    }

    /// Returns how many batches with more than a PING were written.
    pub(crate) fn progress(&self) -> u64 {
        lock(&self.state).progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A broker that asks without end and reads nothing fills no memory; the last PING is answered.
    #[test]
    fn answers_that_nobody_reads() {
        let lane = Lane::new(10);
        lane.open(Vec::new());
        for number in 0..10_000_u32 {
            lane.push_if_open(Outgoing::Pong(number.to_be_bytes().to_vec()));
        }

        assert_eq!(lane.len(), 1);
        let batch = lane.take().unwrap_or_default();
        let last = 9_999_u32.to_be_bytes();
        assert!(matches!(batch.as_slice(), [Outgoing::Pong(context)] if context == &last));
    }
}

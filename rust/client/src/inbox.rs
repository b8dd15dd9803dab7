//! The events that one subscription has received and its program has not.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::event::Event;
use crate::filter::Filter;
use crate::sync::{lock, wait};

/// Bytes of events that may wait, whatever their number.
const MOST_BYTES: usize = 64 << 20;

/// An event and when it came.
pub(crate) struct Arrived {
    pub(crate) event: Event,
    pub(crate) at: Instant,
    size: usize,
}

/// What there is to receive.
pub(crate) enum Taken {
    Event(Box<Arrived>),
    /// So many events were dropped at this place.
    Missed(u64),
    /// The connection to the bus was lost after all events that were taken.
    Disconnected,
    /// Nothing, until the given moment.
    Nothing,
    /// Nothing ever more.
    Closed,
}

/// A queue from the thread that reads the bus to a program. It never makes that thread wait.
pub(crate) struct Inbox {
    pub(crate) filter: Filter,
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
    /// Whether only the last event of each type and source matters.
    last_only: bool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arrived>,
    bytes: usize,
    missed: u64,
    disconnected: bool,
    closed: bool,
}

impl Inbox {
    /// Creates one in which `most` events may wait.
    pub(crate) fn new(filter: Filter, most: usize, last_only: bool) -> Inbox {
        Inbox {
            filter,
            state: Mutex::default(),
            changed: Condvar::new(),
            most,
            last_only,
        }
    }

    /// Adds an event; drops and counts the oldest ones beyond the bound.
    pub(crate) fn put(&self, event: Event, size: usize) {
        let mut state = lock(&self.state);
        state.disconnected = false;
        let same = |one: &Arrived| {
            one.event.event_type == event.event_type && one.event.source == event.source
        };
        let place = if self.last_only {
            state.queue.iter().position(same)
        } else {
            None
        };
        if let Some(old) = place.and_then(|place| state.queue.remove(place)) {
            state.bytes -= old.size;
        }
        state.queue.push_back(Arrived {
            event,
            at: Instant::now(),
            size,
        });
        state.bytes += size;
        while state.queue.len() > self.most || (state.bytes > MOST_BYTES && state.queue.len() > 1) {
            state.bytes -= state.queue.pop_front().map_or(0, |old| old.size);
            state.missed += 1;
        }
        self.changed.notify_one();
    }

    /// Notes that the connection to the bus was lost.
    pub(crate) fn disconnected(&self) {
        lock(&self.state).disconnected = true;
        self.changed.notify_one();
    }

    /// Ends it; what waits can still be taken.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Takes what is next, and waits for it until a moment; `None` waits without a limit.
    pub(crate) fn take(&self, until: Option<Instant>) -> Taken {
        let mut state = lock(&self.state);
        loop {
            if state.missed > 0 {
                return Taken::Missed(std::mem::take(&mut state.missed));
            }
            if let Some(arrived) = state.queue.pop_front() {
                state.bytes -= arrived.size;
                return Taken::Event(Box::new(arrived));
            }
            if std::mem::take(&mut state.disconnected) && self.last_only {
                return Taken::Disconnected;
            }
            if state.closed {
                return Taken::Closed;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Taken::Nothing;
            }
            state = wait(&self.changed, state, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(inbox: &Inbox, event_type: &str, number: u64) {
        inbox.put(Event::new(event_type, json!(number)), 100);
    }

    fn numbers(inbox: &Inbox) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            match inbox.take(Some(Instant::now())) {
                Taken::Event(arrived) => found.push(arrived.event.payload.to_string()),
                Taken::Missed(count) => found.push(format!("missed {count}")),
                Taken::Disconnected => found.push("disconnected".to_owned()),
                Taken::Nothing => return found,
                Taken::Closed => return [found, vec!["closed".to_owned()]].concat(),
            }
        }
    }

    // What a slow program misses is the oldest, and it is told how many at that place.
    #[test]
    fn missed() {
        let inbox = Inbox::new(Filter::prefix(""), 3, false);
        (1..=5).for_each(|number| put(&inbox, "a", number));
        assert_eq!(numbers(&inbox), ["missed 2", "3", "4", "5"]);
        put(&inbox, "a", 6);
        assert_eq!(numbers(&inbox), ["6"]);
    }

    // Bytes are bounded, too; a single event always has room.
    #[test]
    fn bytes() {
        let inbox = Inbox::new(Filter::prefix(""), 10, false);
        inbox.put(Event::new("a", json!(1)), MOST_BYTES);
        inbox.put(Event::new("a", json!(2)), MOST_BYTES + 1);
        assert_eq!(numbers(&inbox), ["missed 1", "2"]);
    }

    // Of states only the last one of each type waits, however many come.
    #[test]
    fn last_only() {
        let inbox = Inbox::new(Filter::prefix(""), 3, true);
        for number in 1..=100 {
            put(&inbox, "a", number);
            put(&inbox, "b", number);
        }
        inbox.disconnected();
        assert_eq!(numbers(&inbox), ["100", "100", "disconnected"]);
        inbox.disconnected();
        put(&inbox, "a", 7);
        assert_eq!(numbers(&inbox), ["7"]);
    }

    // What waits at the end can still be taken.
    #[test]
    fn closed() {
        let inbox = Inbox::new(Filter::prefix(""), 3, false);
        put(&inbox, "a", 1);
        inbox.close();
        assert_eq!(numbers(&inbox), ["1", "closed"]);
    }
}

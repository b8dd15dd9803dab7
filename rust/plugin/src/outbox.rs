//! Takes what an application has put into Nemo's data repository for the bus, each value once and in order.
//!
//! Nemo tells a plugin nothing of a change, so the paths are read again and again. There are two ways:
//!
//! * **By hand**: one value, or a list of them, at `bridge.call` or `bridge.emit`. It is set to `Null` when it was taken. A
//!   second value put there before that replaces the first.
//! * **The queue**, which loses nothing: the application puts entry `n` (1, 2, 3, …) at `bridge.queue.s<n modulo 4096>`, and
//!   then `n` at `bridge.queue.last`. The plugin takes all entries up to `last`, clears their places and says `bridge.taken`.
//!   As long as `last - taken < 4096`, no place is used twice, so application and plugin never write to the same path at once.

use std::collections::VecDeque;

use nemo_plugin_api::{PluginContext, PluginValue};

use crate::entry::{self, Entry, Malformed};

/// How many entries the queue holds.
pub const QUEUE_CAPACITY: i64 = 4096;

/// Where an entry came from, for messages: a path of the data repository.
pub type Origin = String;

/// An entry, or what is wrong with it.
type Read = Result<Entry, Malformed>;

/// Read the outgoing values of one data repository.
#[derive(Debug, Default)]
pub struct Outbox {
    taken: i64,
    last: PluginValue,
    waiting: VecDeque<(Origin, Read)>,
}

impl Outbox {
    /// Announce that nothing was taken yet, so that an application can tell that the plugin is there.
    pub fn announce(&self, context: &dyn PluginContext) {
        let _ = context.set_data("bridge.taken", PluginValue::Integer(self.taken));
    }

    /// Take at most `limit` entries, in the order in which they were put.
    ///
    /// Those of the queue come before those put by hand: nothing says in which order the two ways were used.
    ///
    /// # Returns
    ///
    /// Each entry with the path that it was put at.
    pub fn take(&mut self, context: &dyn PluginContext, limit: usize) -> Vec<(Origin, Read)> {
        if limit == 0 {
            return Vec::new();
        }
        let mut entries = self.take_queue(context, limit);
        if self.waiting.is_empty() {
            self.read_by_hand(context, "bridge.call", |value| {
                entry::call(value, None).map(Entry::Call)
            });
            self.read_by_hand(context, "bridge.emit", |value| {
                entry::emit(value).map(Entry::Emit)
            });
        }
        let room = limit.saturating_sub(entries.len());
        entries.extend(self.waiting.drain(..room.min(self.waiting.len())));
        entries
    }

    fn take_queue(&mut self, context: &dyn PluginContext, limit: usize) -> Vec<(Origin, Read)> {
        let mut entries = Vec::new();
        let Some(last) = self.last(context, &mut entries) else {
            return entries;
        };
        let first = (self.taken + 1).max(last - (QUEUE_CAPACITY - 1));
        if first > self.taken + 1 {
            entries.push(refusal(
                "bridge.queue",
                format!(
                    "entries {} to {} were overwritten; an application puts at most {QUEUE_CAPACITY} more than 'bridge.taken' says",
                    self.taken + 1,
                    first - 1
                ),
            ));
            self.taken = first - 1;
        }
        for number in (first..=last).take(limit) {
            let path = format!("bridge.queue.s{}", number % QUEUE_CAPACITY);
            let value = context.get_data(&path).unwrap_or_default();
            entries.push((path.clone(), entry::queued(&value, number)));
            let _ = context.set_data(&path, PluginValue::Null);
            self.taken = number;
        }
        self.announce(context);
        entries
    }

    /// Return the number of the last entry, if there is one that was not taken.
    fn last(
        &mut self,
        context: &dyn PluginContext,
        entries: &mut Vec<(Origin, Read)>,
    ) -> Option<i64> {
        let value = context.get_data("bridge.queue.last").unwrap_or_default();
        let is_new = value != self.last;
        self.last = value;
        match self.last {
            PluginValue::Null => None,
            PluginValue::Integer(last) if last > 0 => {
                if last < self.taken {
                    entries.push(refusal(
                        "bridge.queue.last",
                        format!("it fell from {} to {last}; this is read as a queue that begins anew with 1", self.taken),
                    ));
                    self.taken = 0;
                }
                (last > self.taken).then_some(last)
            }
            _ => {
                if is_new {
                    let reason = "it is no positive integer; it is the number of the last entry that was put".to_owned();
                    entries.push(refusal("bridge.queue.last", reason));
                }
                None
            }
        }
    }

    fn read_by_hand(
        &mut self,
        context: &dyn PluginContext,
        path: &str,
        read: fn(&PluginValue) -> Read,
    ) {
        let value = match context.get_data(path) {
            None | Some(PluginValue::Null) => return,
            Some(value) => value,
        };
        let _ = context.set_data(path, PluginValue::Null);
        match value {
            PluginValue::Array(items) => self
                .waiting
                .extend(items.iter().map(|item| (path.to_owned(), read(item)))),
            value => self.waiting.push_back((path.to_owned(), read(&value))),
        }
    }
}

fn refusal(origin: &str, reason: String) -> (Origin, Read) {
    (origin.to_owned(), Err(Malformed { reason, into: None }))
}

#[cfg(test)]
mod tests {
    use nemo_bridge_host::Application;
    use serde_json::{Value, json};

    use super::*;
    use crate::value::from_json;

    fn put(application: &Application, path: &str, json: Value) {
        application
            .set_data(path, from_json(json))
            .expect("a path that can be set");
    }

    fn put_numbered(application: &Application, number: i64) {
        let entry = json!({"n": number, "emit": {"type": format!("e{number}")}});
        put(
            application,
            &format!("bridge.queue.s{}", number % QUEUE_CAPACITY),
            entry,
        );
        put(application, "bridge.queue.last", json!(number));
    }

    fn types(taken: Vec<(Origin, Read)>) -> Vec<String> {
        taken
            .into_iter()
            .map(|(_, entry)| match entry {
                Ok(Entry::Emit(event)) => event.event_type,
                Ok(Entry::Call(call)) => format!("{}:{}", call.integration, call.into),
                Err(malformed) => malformed.reason,
            })
            .collect()
    }

    // A value put by hand is taken once, and its path is free for the same value again.
    #[test]
    fn a_value_by_hand_is_taken_once() {
        let (application, mut outbox) = (Application::new(&[]), Outbox::default());
        for _ in 0..2 {
            put(
                &application,
                "bridge.call",
                json!({"integration": "shop", "method": "x"}),
            );

            assert_eq!(
                types(outbox.take(&*application, 9)),
                ["shop:bridge.answers.last"]
            );
            assert_eq!(types(outbox.take(&*application, 9)), [""; 0]);
            assert_eq!(application.get_data("bridge.call"), Some(PluginValue::Null));
        }
    }

    // A list is several values. What there is no room for is taken later, in order, before anything new.
    #[test]
    fn a_list_is_several_values() {
        let (application, mut outbox) = (Application::new(&[]), Outbox::default());
        put(
            &application,
            "bridge.emit",
            json!([{"type": "a"}, {"type": "b"}, {"type": "c"}]),
        );

        assert_eq!(types(outbox.take(&*application, 2)), ["a", "b"]);
        put(&application, "bridge.emit", json!({"type": "d"}));
        assert_eq!(types(outbox.take(&*application, 2)), ["c"]);
        assert_eq!(types(outbox.take(&*application, 2)), ["d"]);
    }

    // Without room nothing is taken, so what was put stays where it is.
    #[test]
    fn without_room_nothing_is_taken() {
        let (application, mut outbox) = (Application::new(&[]), Outbox::default());
        put(&application, "bridge.emit", json!({"type": "a"}));
        put_numbered(&application, 1);

        assert_eq!(types(outbox.take(&*application, 0)), [""; 0]);
        assert_eq!(types(outbox.take(&*application, 9)), ["e1", "a"]);
    }

    // Everything in the queue is taken once and in order, over several rounds through its places.
    #[test]
    fn the_queue_loses_nothing() {
        let (application, mut outbox) = (Application::new(&[]), Outbox::default());
        let mut taken = Vec::new();
        for number in 1..=3 * QUEUE_CAPACITY {
            put_numbered(&application, number);
            if number % 1000 == 0 {
                taken.extend(types(outbox.take(&*application, 700)));
                taken.extend(types(outbox.take(&*application, 700)));
                assert_eq!(
                    application.get_data("bridge.taken"),
                    Some(PluginValue::Integer(number))
                );
            }
        }
        taken.extend(types(outbox.take(&*application, 9999)));

        let expected: Vec<_> = (1..=3 * QUEUE_CAPACITY)
            .map(|number| format!("e{number}"))
            .collect();
        assert_eq!(taken, expected);
        assert_eq!(
            application.get_data("bridge.queue.s1"),
            Some(PluginValue::Null)
        );
    }

    // An application that puts more than the queue holds is told which entries it has lost.
    #[test]
    fn overwritten_entries_are_told() {
        let (application, mut outbox) = (Application::new(&[]), Outbox::default());
        for number in 1..=QUEUE_CAPACITY + 5 {
            put_numbered(&application, number);
        }

        let taken = types(outbox.take(&*application, 9999));

        assert!(
            taken[0].starts_with("entries 1 to 5 were overwritten"),
            "{}",
            taken[0]
        );
        assert_eq!(taken[1], "e6");
        assert_eq!(taken.len(), 1 + 4096);
    }

    // A number whose entry is not there, and one with nonsense, are told; those after it are taken.
    #[test]
    fn missing_entries_are_told() {
        let (application, mut outbox) = (Application::new(&[]), Outbox::default());
        put(&application, "bridge.queue.s2", json!("nonsense"));
        put_numbered(&application, 3);

        let taken = types(outbox.take(&*application, 9));

        assert!(
            taken[0]
                .starts_with("an entry of the queue is an object {n, call} or {n, emit}, not null")
        );
        assert!(taken[1].ends_with("not text"));
        assert_eq!(taken[2], "e3");
    }

    // A counter that is no number is told once and harms nothing; one that falls begins a new queue.
    #[test]
    fn a_counter_without_meaning() {
        let (application, mut outbox) = (Application::new(&[]), Outbox::default());
        for nonsense in [json!("x"), json!(-1), json!({"a": 1})] {
            put(&application, "bridge.queue.last", nonsense);
            assert!(
                types(outbox.take(&*application, 9))[0].starts_with("it is no positive integer")
            );
            assert_eq!(types(outbox.take(&*application, 9)), [""; 0]);
        }
        put(&application, "bridge.queue.last", json!(i64::MAX));
        assert!(types(outbox.take(&*application, 9999))[0].contains("were overwritten"));
        put_numbered(&application, 1);
        let taken = types(outbox.take(&*application, 9));
        assert!(taken[0].starts_with("it fell from"), "{}", taken[0]);
        assert_eq!(taken[1], "e1");
    }
}

//! Carries values between a data repository and the bus.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use nemo_bridge_client::{Event, Health, LOST, Notice};
use nemo_plugin_api::{LogLevel, PluginContext};
use serde_json::{Map, Value, json};

use crate::answers::{self, Answers};
use crate::entry::{Call, Emit, Entry, Malformed};
use crate::landing::Landing;
use crate::outbox::{Origin, Outbox};
use crate::reports::Reports;
use crate::settings::Settings;
use crate::{entry, path, value};

/// Where the state of the bridge itself is, under `bridge.health`.
const BRIDGE: &str = "bridge";

/// How many calls wait for their answer at most. Further ones wait in the data repository.
const MAX_IN_FLIGHT: usize = 1024;

/// How many events are read before values are written, so that a flood does not keep everything else waiting.
const MAX_EVENTS: usize = 2048;

/// The bus, as the session needs it.
pub trait Bus {
    /// A call that waits for its answer.
    type Pending: PendingAnswer;

    /// Return the name under which this application emits.
    fn source(&self) -> &str;

    /// Emit an event.
    fn emit(&mut self, event: &Emit) -> Result<(), Refusal>;

    /// Send a command; the answer comes to what is returned.
    fn start_call(&mut self, call: &Call, timeout: Duration) -> Result<Self::Pending, Refusal>;

    /// Return what came from the bus; wait for at most `limit` if there is nothing.
    fn receive(&mut self, limit: Duration) -> Option<Received>;
}

/// An answer that has not come yet.
pub trait PendingAnswer {
    /// Return a response's payload as the bus contract says it, once it is there or nothing is to be expected any more.
    fn poll(&mut self) -> Option<Value>;
}

/// Why something does not go out.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// There is no room at the moment.
    Full,
    /// It can never go out; the text says why.
    Invalid(String),
}

/// What comes from the bus.
#[derive(Debug, Clone)]
pub enum Received {
    /// An event.
    Event(Event),
    /// The state of an integration, or of a bridge.
    Health(Health),
    /// This many events came too fast and were lost.
    Missed(u64),
    /// Something that happened to the connection.
    Notice(Notice),
}

/// Carry values in both directions, step by step.
pub struct Session<B: Bus> {
    bus: B,
    settings: Settings,
    landing: Landing,
    /// The last state of each integration, and of the bridge that said it.
    health: BTreeMap<String, (Option<String>, Map<String, Value>)>,
    outbox: Outbox,
    todo: VecDeque<(Origin, Result<Entry, Malformed>)>,
    answers: Answers,
    in_flight: Vec<InFlight<B::Pending>>,
    calls: u64,
    rejected: u64,
    forwarded: Forwarded,
    reports: Reports,
}

struct InFlight<P> {
    number: u64,
    into: String,
    pending: P,
}

impl<B: Bus> Session<B> {
    /// Begin a session; nothing is read or written yet.
    pub fn new(bus: B, settings: Settings) -> Self {
        Self {
            bus,
            landing: Landing::new("bridge"),
            health: BTreeMap::new(),
            outbox: Outbox::default(),
            todo: VecDeque::new(),
            answers: Answers::new(settings.answers),
            in_flight: Vec::new(),
            calls: 0,
            rejected: 0,
            forwarded: Forwarded::default(),
            reports: Reports::default(),
            settings,
        }
    }

    /// Write the values that an application may bind to before anything came from the bus.
    pub fn begin(&mut self, context: &dyn PluginContext) {
        self.outbox.announce(context);
        self.store_health(context, BRIDGE, None, json!({"status": "connecting"}));
    }

    /// Carry what is there, in both directions; wait for at most `limit` if nothing came from the bus.
    pub fn step(&mut self, context: &dyn PluginContext, limit: Duration) {
        self.send(context);
        self.store_answers(context);
        self.receive(context, limit);
        self.reports.flush(context, Instant::now());
    }

    // --- from the repository to the bus ---

    fn send(&mut self, context: &dyn PluginContext) {
        loop {
            if self.todo.is_empty() {
                let room = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len());
                self.todo.extend(self.outbox.take(context, room));
            }
            let Some((origin, entry)) = self.todo.pop_front() else {
                return;
            };
            let refused = match &entry {
                Ok(Entry::Call(call)) => self.call(context, &origin, call),
                Ok(Entry::Emit(event)) => self.emit(context, &origin, event),
                Err(malformed) => {
                    self.refuse(
                        context,
                        &origin,
                        malformed.into.as_deref(),
                        &malformed.reason,
                    );
                    Ok(())
                }
            };
            if let Err(NoRoom) = refused {
                self.todo.push_front((origin, entry));
                return;
            }
        }
    }

    fn emit(
        &mut self,
        context: &dyn PluginContext,
        origin: &str,
        event: &Emit,
    ) -> Result<(), NoRoom> {
        match self.bus.emit(event) {
            Ok(()) => {}
            Err(Refusal::Full) => return Err(NoRoom),
            Err(Refusal::Invalid(reason)) => self.refuse(context, origin, None, &reason),
        }
        Ok(())
    }

    fn call(
        &mut self,
        context: &dyn PluginContext,
        origin: &str,
        call: &Call,
    ) -> Result<(), NoRoom> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return Err(NoRoom);
        }
        match self
            .bus
            .start_call(call, call.timeout.unwrap_or(self.settings.timeout))
        {
            Ok(pending) => {
                let mut into = call.into.clone();
                if let Err(reason) = self.answers.expect(context, &into) {
                    let other = entry::default_place("last");
                    let message = format!(
                        "the answer cannot be stored at '{into}', so it will be at '{other}': {reason}"
                    );
                    self.warn(context, "place", message);
                    into = other;
                    let _ = self.answers.expect(context, &into);
                }
                self.calls += 1;
                self.in_flight.push(InFlight {
                    number: self.calls,
                    into,
                    pending,
                });
            }
            Err(Refusal::Full) => return Err(NoRoom),
            Err(Refusal::Invalid(reason)) => {
                self.refuse(context, origin, Some(&call.into), &reason)
            }
        }
        Ok(())
    }

    /// Tell that an entry does not go out: in the log, at `bridge.rejected`, and where its answer is expected.
    fn refuse(
        &mut self,
        context: &dyn PluginContext,
        origin: &str,
        into: Option<&str>,
        reason: &str,
    ) {
        self.warn(
            context,
            "rejected",
            format!("'data.{origin}' was not sent: {reason}"),
        );
        self.rejected += 1;
        let rejected = value::object([
            ("count", value::count(self.rejected)),
            ("path", value::string(format!("data.{origin}"))),
            ("reason", value::string(reason)),
        ]);
        let writes = crate::landing::with_inner_paths("bridge.rejected".to_owned(), rejected);
        let _ = answers::write(context, writes);
        if let Some(into) = into {
            let response = json!({
                "ok": false,
                "error": {"kind": "invalid", "message": reason, "retryable": false},
                "attempts": 0,
            });
            if let Err(reason) = self.answers.store_refusal(context, into, response) {
                self.warn(
                    context,
                    "place",
                    format!("no answer can be stored at '{into}': {reason}"),
                );
            }
        }
    }

    fn store_answers(&mut self, context: &dyn PluginContext) {
        let mut answered = Vec::new();
        self.in_flight.retain_mut(|call| match call.pending.poll() {
            None => true,
            Some(response) => {
                answered.push((std::mem::take(&mut call.into), call.number, response));
                false
            }
        });
        for (into, number, response) in answered {
            if let Err(reason) = self
                .answers
                .store_expected(context, &into, number, response)
            {
                self.warn(
                    context,
                    "place",
                    format!("no answer can be stored at '{into}': {reason}"),
                );
            }
        }
    }

    // --- from the bus to the repository ---

    fn receive(&mut self, context: &dyn PluginContext, limit: Duration) {
        // Only the last event of a type is stored. Those before it in the same batch need not be written.
        let mut last = IndexMap::new();
        let mut limit = limit;
        for _ in 0..MAX_EVENTS {
            match self.bus.receive(limit) {
                None => break,
                Some(Received::Event(event)) => {
                    if let Some(event) = self.accept(context, event) {
                        last.insert(event.event_type.clone(), event);
                    }
                }
                Some(Received::Missed(count)) => {
                    let message = format!(
                        "{count} events came too fast and were lost; the last values may be old"
                    );
                    self.warn(context, "missed", message);
                }
                Some(Received::Health(health)) if health.status == LOST => {
                    self.store_loss(context, &health)
                }
                Some(Received::Health(health)) => {
                    self.store_health(context, &health.id, health.source, health.payload);
                }
                Some(Received::Notice(notice)) => self.tell(context, &notice),
            }
            limit = Duration::ZERO;
        }
        for (event_type, event) in last {
            self.land(context, &path::of_event_type(&event_type), event.payload);
        }
    }

    /// Forward an event into the application's own bus, and return it if its payload is to be stored.
    fn accept(&mut self, context: &dyn PluginContext, event: Event) -> Option<Event> {
        let source = event.source.as_deref();
        if source == Some(self.bus.source()) {
            // What this application said itself is neither stored nor said to it again.
            return None;
        }
        if self.settings.forward.matches(&event.event_type, source)
            && self.forwarded.is_news(&event)
        {
            context.emit_event(&event.event_type, value::from_json(event.payload.clone()));
        }
        self.is_stored(&event).then_some(event)
    }

    fn is_stored(&self, event: &Event) -> bool {
        if is_health(event) {
            // It comes by a way of its own, which also says what is lost.
            return false;
        }
        match &self.settings.land {
            Some(patterns) => patterns.matches(&event.event_type, event.source.as_deref()),
            None => is_said_by_bridge(event) && !event.event_type.starts_with("response."),
        }
    }

    fn store_health(
        &mut self,
        context: &dyn PluginContext,
        id: &str,
        source: Option<String>,
        payload: Value,
    ) {
        let payload = match payload {
            Value::Object(payload) => payload,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        // What has no place is not kept either, so that ever new ids take no memory.
        if self.land_health(context, id, payload.clone()) {
            self.health.insert(id.to_owned(), (source, payload));
        }
    }

    /// Say of a bridge and of everything behind it that nothing is known any more.
    fn store_loss(&mut self, context: &dyn PluginContext, lost: &Health) {
        let message = lost.error.as_deref().unwrap_or("no sign of life");
        // Without a source all bridges are lost: the bus itself is.
        let is_lost = |source: &Option<String>| {
            source.is_some() && (lost.source.is_none() || *source == lost.source)
        };
        // What no bridge has said yet cannot be lost. But a bridge that has said the state of an integration was there,
        // also where what it says of itself has not come yet.
        let is_known = self.health.values().any(|(source, _)| is_lost(source));
        for (id, (source, mut payload)) in self.health.clone() {
            if !(is_lost(&source) || (is_known && source.is_none() && id == BRIDGE)) {
                continue;
            }
            let status = payload
                .insert("status".to_owned(), json!(LOST))
                .unwrap_or_default();
            if status != json!(LOST) {
                payload.insert("previous".to_owned(), status);
            }
            payload.insert(
                "error".to_owned(),
                json!({"kind": "not_connected", "message": message, "retryable": true}),
            );
            self.land_health(context, &id, payload.clone());
            self.health.insert(id, (source, payload));
        }
        if is_known {
            self.warn(context, "lost", format!("the bridge is lost: {message}"));
        }
    }

    /// Store a state, and return whether it has a place.
    fn land_health(
        &mut self,
        context: &dyn PluginContext,
        id: &str,
        payload: Map<String, Value>,
    ) -> bool {
        // The id of a fabric or of a node has two segments, such as `fabric.plant`.
        let segments: Vec<String> = std::iter::once("health")
            .chain(id.split('.'))
            .map(path::name)
            .collect();
        self.land(context, &segments, Value::Object(payload))
    }

    fn tell(&mut self, context: &dyn PluginContext, notice: &Notice) {
        match notice {
            Notice::Connected { .. } => context.log(LogLevel::Info, &notice.to_string()),
            // The client tells each of them rarely.
            _ => context.log(LogLevel::Warn, &notice.to_string()),
        }
    }

    /// Store a payload, and return whether it has a place.
    fn land(&mut self, context: &dyn PluginContext, segments: &[String], payload: Value) -> bool {
        let written = self
            .landing
            .store(segments, value::from_json(payload))
            .and_then(|writes| answers::write(context, writes));
        if let Err(reason) = written {
            let place = segments.join(".");
            self.warn(
                context,
                "landing",
                format!("'data.bridge.{place}' cannot be stored: {reason}"),
            );
            return false;
        }
        true
    }

    fn warn(&mut self, context: &dyn PluginContext, kind: &'static str, message: String) {
        self.reports.warn(context, Instant::now(), kind, message);
    }
}

struct NoRoom;

/// How many last values the bridge keeps by default.
const MAX_REPEATED: usize = 10_000;

/// Remember which events were forwarded.
///
/// The bridge says its last values again to everybody who joins the bus. They are state for those who come late, and no
/// news for an application that has had them.
#[derive(Default)]
struct Forwarded {
    /// The last payload, as a hash, of each kept value.
    known: HashMap<u64, u64>,
    order: VecDeque<u64>,
}

impl Forwarded {
    /// Return whether an event is to be forwarded, and remember it.
    fn is_news(&mut self, event: &Event) -> bool {
        let payload = hash(&event.payload.to_string());
        // The bridge keeps a value for each type and topic. What was forwarded for another topic says nothing of this
        // one; neither does an older value of this one, which may have come back while the bus was away.
        let value = match event.payload.get("topic") {
            Some(Value::String(topic)) => hash(topic),
            _ => payload,
        };
        let key = hash(&(&event.event_type, &event.source, value));
        let previous = self.known.insert(key, payload);
        if previous.is_none() {
            self.order.push_back(key);
            if self.order.len() > MAX_REPEATED {
                self.known.remove(&self.order[0]);
                self.order.pop_front();
            }
        }
        previous != Some(payload) || !event.headers.contains_key("repeated")
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Return whether the bridge has put an event on the bus: its source says so, or a header of a message that it carried.
fn is_said_by_bridge(event: &Event) -> bool {
    match event.source.as_deref() {
        Some("bridge") => true,
        Some(source) if source.starts_with("bridge/") => true,
        _ => event.headers.contains_key("origin"),
    }
}

fn is_health(event: &Event) -> bool {
    event.event_type.starts_with("health.") && is_said_by_bridge(event)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    use nemo_bridge_client::Filter;
    use nemo_bridge_host::Application;
    use nemo_plugin_api::PluginValue;

    use super::*;
    use crate::value::from_json;

    /// A bus that records what is sent; tests put in what it receives and what calls are answered with.
    #[derive(Default)]
    struct FakeBus {
        sent: Vec<String>,
        incoming: VecDeque<Received>,
        /// One place for each call, in order.
        answers: Vec<Answer>,
        is_full: bool,
    }

    type Answer = Rc<RefCell<Option<Value>>>;

    impl Bus for FakeBus {
        type Pending = Answer;

        fn source(&self) -> &'static str {
            "desk"
        }

        fn emit(&mut self, event: &Emit) -> Result<(), Refusal> {
            if self.is_full {
                return Err(Refusal::Full);
            }
            self.sent
                .push(format!("{} {}", event.event_type, event.payload));
            Ok(())
        }

        fn start_call(&mut self, call: &Call, _timeout: Duration) -> Result<Answer, Refusal> {
            if self.is_full {
                return Err(Refusal::Full);
            }
            if call.integration == "refused" {
                return Err(Refusal::Invalid("no".to_owned()));
            }
            self.sent.push(format!(
                "{}.{} {}",
                call.integration, call.operation, call.payload
            ));
            self.answers.push(Answer::default());
            Ok(Rc::clone(&self.answers[self.answers.len() - 1]))
        }

        fn receive(&mut self, _limit: Duration) -> Option<Received> {
            self.incoming.pop_front()
        }
    }

    impl PendingAnswer for Answer {
        fn poll(&mut self) -> Option<Value> {
            self.take()
        }
    }

    fn begin(settings: Settings) -> (Arc<Application>, Session<FakeBus>) {
        let application = Application::new(&[]);
        let mut session = Session::new(FakeBus::default(), settings);
        session.begin(&*application);
        (application, session)
    }

    fn step(
        application: &Application,
        session: &mut Session<FakeBus>,
        incoming: impl IntoIterator<Item = Received>,
    ) {
        session.bus.incoming.extend(incoming);
        session.step(application, Duration::ZERO);
    }

    fn put(application: &Application, path: &str, json: Value) {
        application
            .set_data(path, from_json(json))
            .expect("a path that can be set");
    }

    fn at(application: &Application, path: &str) -> Value {
        value::to_json(&application.get_data(path).unwrap_or_default()).expect("finite")
    }

    fn event(event_type: &str, source: &str, payload: Value) -> Received {
        Received::Event(Event::new(event_type, payload).with_source(source))
    }

    fn health(id: &str, source: Option<&str>, status: &str) -> Received {
        let source = source.map(str::to_owned);
        let payload = if status == LOST {
            Value::Null
        } else {
            json!({"status": status, "error": null})
        };
        Received::Health(Health {
            id: id.to_owned(),
            source,
            status: status.to_owned(),
            error: (status == LOST).then(|| "silent".to_owned()),
            payload,
        })
    }

    // A call goes out, says that its answer is expected, and stores it where it was asked for.
    #[test]
    fn a_call_and_its_answer() {
        let (application, mut session) = begin(Settings::default());
        put(
            &application,
            "bridge.call",
            json!({"integration": "shop", "method": "x", "into": "data.a.b"}),
        );

        step(&application, &mut session, []);
        assert_eq!(session.bus.sent, [r#"shop.request {"method":"x"}"#]);
        assert_eq!(at(&application, "a.b.pending"), json!(true));

        *session.bus.answers[0].borrow_mut() =
            Some(json!({"ok": true, "result": 7, "attempts": 1, "duration_ms": 3}));
        step(&application, &mut session, []);
        assert_eq!(
            (
                at(&application, "a.b.result"),
                at(&application, "a.b.pending")
            ),
            (json!(7), json!(false))
        );
        assert_eq!(session.in_flight.len(), 0);
    }

    // While the bus takes nothing, everything waits, and goes out once and in order afterwards.
    #[test]
    fn nothing_is_lost_while_the_bus_is_full() {
        let (application, mut session) = begin(Settings::default());
        for number in 1..=9 {
            session.bus.is_full = number % 4 != 0;
            let emit = json!({"n": number, "emit": {"type": format!("e{number}")}});
            put(&application, &format!("bridge.queue.s{number}"), emit);
            put(&application, "bridge.queue.last", json!(number));
            step(&application, &mut session, []);
        }
        session.bus.is_full = false;
        step(&application, &mut session, []);

        let expected: Vec<_> = (1..=9).map(|number| format!("e{number} null")).collect();
        assert_eq!(session.bus.sent, expected);
    }

    // No more calls are in flight than the limit; the others wait in the queue of the application.
    #[test]
    fn calls_in_flight_are_bounded() {
        let (application, mut session) = begin(Settings::default());
        let calls: Vec<Value> = (0..MAX_IN_FLIGHT + 10)
            .map(|_| json!({"integration": "shop"}))
            .collect();
        put(&application, "bridge.call", json!(calls));

        step(&application, &mut session, []);
        assert_eq!(session.bus.sent.len(), MAX_IN_FLIGHT);

        *session.bus.answers[0].borrow_mut() = Some(json!({"ok": true}));
        step(&application, &mut session, []);
        step(&application, &mut session, []);
        assert_eq!(session.bus.sent.len(), MAX_IN_FLIGHT + 1);
    }

    // What does not go out is told in the log, at a path, and where its answer was expected; the next goes out.
    #[test]
    fn malformed_and_refused_entries_are_told() {
        let (application, mut session) = begin(Settings::default());
        put(
            &application,
            "bridge.call",
            json!([{"integration": 7, "into": "a"}, {"integration": "refused", "into": "b"}, 7, {"integration": "shop"}]),
        );

        step(&application, &mut session, []);

        assert_eq!(session.bus.sent, ["shop.request {}"]);
        assert_eq!(at(&application, "a.error.kind"), json!("invalid"));
        assert_eq!(at(&application, "b.error.message"), json!("no"));
        assert_eq!(at(&application, "bridge.rejected.count"), json!(3));
        assert_eq!(
            at(&application, "bridge.rejected.path"),
            json!("data.bridge.call")
        );
        let log = application.log_lines();
        assert_eq!(log.len(), 1, "one line, the others are held back: {log:?}");
        assert!(
            log[0]
                .1
                .starts_with("'data.bridge.call' was not sent: 'integration' is text"),
            "{log:?}"
        );
    }

    // An answer whose place cannot be is not lost.
    #[test]
    fn an_answer_without_a_place() {
        let (application, mut session) = begin(Settings::default());
        put(&application, "taken", json!(1));
        put(
            &application,
            "bridge.call",
            json!({"integration": "shop", "into": "taken.here"}),
        );

        step(&application, &mut session, []);
        *session.bus.answers[0].borrow_mut() = Some(json!({"ok": true, "result": 7}));
        step(&application, &mut session, []);

        assert_eq!(at(&application, "bridge.answers.last.result"), json!(7));
        assert!(
            application.log_lines()[0]
                .1
                .contains("cannot be stored at 'taken.here'")
        );
    }

    // Without settings, what the bridge says is stored: neither answers to others, nor what applications say.
    #[test]
    fn what_is_stored_by_default() {
        let (application, mut session) = begin(Settings::default());
        let from_another_node = Event::new("far.away", json!(6))
            .with_source("desk-7/app")
            .with_header("origin", "desk-7");
        step(
            &application,
            &mut session,
            [
                event("message.news", "bridge", json!({"topic": "a"})),
                event("data.metrics", "bridge/second", json!(2)),
                event("response.integration.shop.request", "bridge", json!(3)),
                event("order.created", "app", json!(4)),
                event("integration.shop.request", "desk", json!(5)),
                event("health.shop", "app", json!({"status": "faked"})),
                Received::Event(from_another_node),
            ],
        );

        assert_eq!(at(&application, "bridge.message.news.topic"), json!("a"));
        assert_eq!(at(&application, "bridge.data.metrics"), json!(2));
        assert_eq!(at(&application, "bridge.far.away"), json!(6));
        for path in [
            "bridge.response",
            "bridge.order",
            "bridge.integration",
            "bridge.health.shop",
        ] {
            assert_eq!(at(&application, path), Value::Null, "{path}");
        }
    }

    // With patterns, exactly what matches is stored, whoever said it, but not what this application said itself.
    #[test]
    fn what_is_stored_with_patterns() {
        let settings = Settings {
            land: Some(Filter::parse("order.*").expect("a pattern")),
            ..Settings::default()
        };
        let (application, mut session) = begin(settings);
        step(
            &application,
            &mut session,
            [
                event("order.paid", "app", json!(1)),
                event("order.created", "desk", json!(2)),
                event("message.news", "bridge", json!(3)),
                health("shop", Some("bridge"), "connected"),
            ],
        );

        assert_eq!(at(&application, "bridge.order"), json!({"paid": 1}));
        assert_eq!(at(&application, "bridge.message"), Value::Null);
        assert_eq!(
            at(&application, "bridge.health.shop.status"),
            json!("connected")
        );
    }

    // Of many events of one type, the last is stored; all are forwarded, in order, but not the application's own.
    #[test]
    fn events_are_forwarded_as_they_are() {
        let settings = Settings {
            forward: Filter::parse("order.*").expect("a pattern"),
            ..Settings::default()
        };
        let (application, mut session) = begin(settings);
        let mut incoming: Vec<_> = (0..10)
            .map(|number| event("order.paid", "bridge", json!({"n": number})))
            .collect();
        incoming.push(event("order.paid", "desk", json!("echo")));
        incoming.push(event("message.news", "bridge", json!("other")));
        step(&application, &mut session, incoming);

        let expected: Vec<_> = (0..10)
            .map(|number| ("order.paid".to_owned(), from_json(json!({"n": number}))))
            .collect();
        assert_eq!(application.emitted(), expected);
        assert_eq!(at(&application, "bridge.order.paid.n"), json!(9));
        assert_eq!(session.bus.sent, [""; 0]);
    }

    // A last value that the bridge says again is forwarded once; an event that happens to be equal to another is forwarded.
    #[test]
    fn repeated_values_are_forwarded_once() {
        let settings = Settings {
            forward: Filter::parse("order.*").expect("a pattern"),
            ..Settings::default()
        };
        let (application, mut session) = begin(settings);
        let first = Event::new("order.paid", json!(1)).with_source("bridge");
        let repeated = first.clone().with_header("repeated", "true");
        let late = Event::new("order.paid", json!(2))
            .with_source("bridge")
            .with_header("repeated", "true");
        step(
            &application,
            &mut session,
            [first.clone(), repeated, late.clone(), late, first].map(Received::Event),
        );

        let payloads: Vec<_> = application
            .emitted()
            .into_iter()
            .map(|(_, payload)| payload)
            .collect();
        assert_eq!(payloads, [1, 2, 1].map(PluginValue::Integer));
    }

    // A value that was changed and changed back while the bus was away is news, although it was forwarded before. Values
    // of other topics are not.
    #[test]
    fn a_repeated_value_that_came_back_is_forwarded() {
        let settings = Settings {
            forward: Filter::parse("lamp").expect("a pattern"),
            ..Settings::default()
        };
        let (application, mut session) = begin(settings);
        let lamp = |topic: &str, message: &str| {
            Event::new("lamp", json!({"topic": topic, "message": message})).with_source("bridge")
        };
        let again = |event: Event| event.with_header("repeated", "true");
        step(
            &application,
            &mut session,
            [
                lamp("hall", "on"),
                lamp("yard", "on"),
                lamp("hall", "off"),
                again(lamp("yard", "on")),
                again(lamp("hall", "off")),
                again(lamp("hall", "on")),
                again(lamp("hall", "on")),
            ]
            .map(Received::Event),
        );

        let expected = [
            ("hall", "on"),
            ("yard", "on"),
            ("hall", "off"),
            ("hall", "on"),
        ]
        .map(|(topic, message)| from_json(lamp(topic, message).payload));
        let forwarded: Vec<_> = application
            .emitted()
            .into_iter()
            .map(|(_, payload)| payload)
            .collect();
        assert_eq!(forwarded, expected);
    }

    // A fabric and its nodes have places of their own, beside the integrations; they are lost with their bridge.
    #[test]
    fn health_of_a_fabric_and_its_nodes() {
        let (application, mut session) = begin(Settings::default());
        let bridge = Some("bridge");
        step(
            &application,
            &mut session,
            [
                health("bridge", bridge, "ready"),
                health("fabric_plant", bridge, "degraded"),
                health("fabric.plant", bridge, "connected"),
                health("node.desk-7", bridge, "connected"),
            ],
        );
        assert_eq!(
            at(&application, "bridge.health.fabric.plant.status"),
            json!("connected")
        );
        assert_eq!(
            at(&application, "bridge.health.node.desk-7.status"),
            json!("connected")
        );
        assert_eq!(
            at(&application, "bridge.health.fabric_plant.status"),
            json!("degraded")
        );

        step(&application, &mut session, [health("bridge", bridge, LOST)]);
        assert_eq!(
            at(&application, "bridge.health.fabric.plant.status"),
            json!("lost")
        );
    }

    // The health of a bridge and its integrations is there from the first moment, is lost as a whole, and comes back.
    #[test]
    fn health_is_known_lost_and_back() {
        let (application, mut session) = begin(Settings::default());
        step(&application, &mut session, [health("bridge", None, LOST)]);
        assert_eq!(
            at(&application, "bridge.health.bridge.status"),
            json!("connecting"),
            "nothing was there to be lost"
        );

        let first = Some("bridge");
        step(
            &application,
            &mut session,
            [
                health("bridge", first, "ready"),
                health("shop", first, "connected"),
                health("7", Some("bridge/b"), "connected"),
            ],
        );
        step(&application, &mut session, [health("bridge", first, LOST)]);
        assert_eq!(
            at(&application, "bridge.health.bridge.status"),
            json!("lost")
        );
        assert_eq!(at(&application, "bridge.health.shop.status"), json!("lost"));
        assert_eq!(
            at(&application, "bridge.health.shop.previous"),
            json!("connected")
        );
        assert_eq!(
            at(&application, "bridge.health.shop.error.message"),
            json!("silent")
        );
        assert_eq!(
            at(&application, "bridge.health._7.status"),
            json!("connected")
        );

        step(
            &application,
            &mut session,
            [
                health("bridge", None, LOST),
                health("shop", first, "connected"),
            ],
        );
        assert_eq!(at(&application, "bridge.health._7.status"), json!("lost"));
        assert_eq!(
            at(&application, "bridge.health.shop.status"),
            json!("connected")
        );
        assert_eq!(
            at(&application, "bridge.health.shop.error.message"),
            Value::Null
        );
    }

    // A bridge of which only an integration's state has come is lost with it, and does not seem to start still.
    #[test]
    fn a_bridge_that_has_said_nothing_of_itself_is_lost() {
        let (application, mut session) = begin(Settings::default());
        step(
            &application,
            &mut session,
            [
                health("shop", Some("bridge"), "connected"),
                health("bridge", None, LOST),
            ],
        );

        assert_eq!(at(&application, "bridge.health.shop.status"), json!("lost"));
        assert_eq!(
            at(&application, "bridge.health.bridge.status"),
            json!("lost")
        );
    }

    // However many ids have a state, a bounded number is kept, and it is told.
    #[test]
    fn states_are_bounded() {
        let (application, mut session) = begin(Settings::default());
        for number in 0..6000 {
            let one = health(&format!("h{number}"), Some("bridge"), "connected");
            step(&application, &mut session, [one]);
        }

        assert!(session.health.len() <= 4096, "{}", session.health.len());
        let log = application.log_lines();
        assert!(log[0].1.contains("there is room for no more"), "{log:?}");
    }

    // Events that were lost on the way are told.
    #[test]
    fn missed_events_are_told() {
        let (application, mut session) = begin(Settings::default());

        step(&application, &mut session, [Received::Missed(17)]);

        assert!(
            application.log_lines()[0]
                .1
                .starts_with("17 events came too fast")
        );
    }
}

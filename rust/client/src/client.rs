//! The client: what its threads share, and what a program calls.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::{CallError, CallOptions, Key, PendingCall, Response, read_answer};
use crate::contract::ErrorKind;
use crate::curve::Curve;
use crate::endpoint::Address;
use crate::errors::{EmitError, InvalidError, SetupError};
use crate::event::{Event, check_event_type, now_ms};
use crate::filter::Filter;
use crate::health::HealthStream;
use crate::inbox::Inbox;
use crate::lane::{Lane, Outgoing};
use crate::link;
use crate::notice::Notice;
use crate::settings::{Checked, Settings};
use crate::subscription::Subscription;
use crate::sync::{after, lock, wait};
use crate::zmtp::Role;

/// Until a command is sent the second time, and between two times at most; each wait is twice the one before. The first
/// one is short, because an event is mostly lost when the other side was not there for a moment.
const FIRST_REPEAT: Duration = Duration::from_millis(250);
const LONGEST_REPEAT: Duration = Duration::from_secs(2);
/// How much longer than the bridge may take we wait: its own error, `deadline`, says more than none.
const MARGIN: Duration = Duration::from_secs(1);
/// Until a command is sent again to a bridge that is about to stop, or to the one after it.
const PAUSE: Duration = Duration::from_millis(250);
/// Until a probe is sent again, at first and at most; each wait is twice the one before.
const FIRST_PROBE: Duration = Duration::from_millis(50);
const LONGEST_PROBE: Duration = Duration::from_secs(1);
/// Rejected messages are told as often as this.
const REJECTED_INTERVAL: Duration = Duration::from_secs(1);
/// Sources whose events are numbered at the same time; with one more, the numbers begin anew.
const MOST_SOURCES: usize = 1024;
/// Entries of calls that have ended, or are due at another moment, are removed when there are so many of them.
const SPARE_DUES: usize = 1024;
/// The longest type that can be answered: `response.` and the type is an event type, too.
const MOST_ANSWERABLE: usize = 255 - "response.".len();
const RESPONSE: &str = "response.";

/// Tells whether a source is a bridge's.
pub(crate) fn is_bridge(source: &str) -> bool {
    source == "bridge" || source.starts_with("bridge/")
}

/// One program on the bus: emits events, calls integrations, receives events. Clones are the same client.
///
/// It connects in the background, and again after each loss. When the last clone, subscription and pending call is
/// dropped, it ends; see [`close`](Client::close).
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Ends the client's threads when nobody uses the client any more.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// How a connection to the bus is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkState {
    /// Whether there is a connection.
    pub connected: bool,
    /// Why the last one ended or failed, while there is none.
    pub trouble: Option<String>,
}

/// How a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// The connection by which events leave.
    pub publish: LinkState,
    /// The connection by which events come.
    pub subscribe: LinkState,
    /// Whether the bus forwards what we emit to what we subscribe to, see [`Client::wait_ready`].
    pub ready: bool,
    /// How many events and subscriptions wait to be written.
    pub waiting: usize,
    /// How many calls have not ended.
    pub calls: usize,
    /// How many messages were received.
    pub received: u64,
    /// How many of them were no events.
    pub rejected: u64,
}

impl Client {
    /// Creates a client. It returns at once; the connections are made in the background, for as long as that takes.
    ///
    /// # Errors
    ///
    /// The settings cannot work: an endpoint is not valid, both are the same, or the system has no thread left.
    pub fn connect(settings: Settings) -> Result<Client, SetupError> {
        let shared = Arc::new(Shared::new(settings.check()?));
        // Whoever fails here ends the threads that were begun.
        let client = Client {
            handle: Arc::new(Handle {
                shared: Arc::clone(&shared),
            }),
        };
        let begin = |name: &str, run: fn(&Arc<Shared>)| {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("nemo-bridge-{name}"));
            thread
                .spawn(move || run(&shared))
                .map_err(|error| SetupError::new(format!("no thread: {error}")))
        };
        begin("publish", |shared| link::keep(shared, Role::Publish))?;
        begin("subscribe", |shared| link::keep(shared, Role::Subscribe))?;
        begin("timer", |shared| shared.keep_time())?;
        Ok(client)
    }

    /// The `source` of our events.
    pub fn source(&self) -> &str {
        &self.shared().settings.source
    }

    /// Returns how the client is.
    pub fn state(&self) -> State {
        let shared = self.shared();
        let core = lock(&shared.core);
        let [publish, subscribe] = core.links.clone();
        State {
            publish,
            subscribe,
            ready: core.is_ready(),
            waiting: shared.publish_lane.len() + shared.subscribe_lane.len(),
            calls: core.calls.len(),
            received: shared.received.load(Ordering::Relaxed),
            rejected: shared.rejected.load(Ordering::Relaxed),
        }
    }

    /// Waits until the bus forwards what we emit, and knows all our subscriptions so far. Returns whether that is so
    /// before the time is up.
    ///
    /// Nobody has to wait for it: events wait for the connection by themselves, and calls until they can be answered.
    /// But an event that is emitted before a subscription is known there may be missed by it.
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        self.shared().wait_until(after(timeout), Core::is_ready)
    }

    /// Ends the client, when the broker has all that was emitted or the time is up. Returns whether it has.
    ///
    /// Calls that have not ended end with [`CallError::Closed`], subscriptions after what waits in them. Without this,
    /// events that were emitted right before the end of the process may be lost.
    pub fn close(self, timeout: Duration) -> bool {
        let shared = self.shared();
        let until = after(timeout);
        let sent = shared.wait_until(until, Core::is_ready) && shared.flush(until);
        shared.stop();
        sent
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    // --- events

    /// Emits an event. It never waits: while there is no connection, the event does.
    ///
    /// ```no_run
    /// use nemo_bridge_client::{Client, Settings};
    /// use serde_json::json;
    ///
    /// let client = Client::connect(Settings::from_env()?)?;
    /// client.emit("order.created", json!({"id": 7}))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`EmitError`].
    pub fn emit(&self, event_type: &str, payload: impl Into<Value>) -> Result<(), EmitError> {
        self.emit_event(Event::new(event_type, payload))
    }

    /// Emits an event as it is, apart from what is missing: `source` and `id`. `headers.seq` is always the client's: 1,
    /// 2, 3, … for each source.
    ///
    /// # Errors
    ///
    /// See [`EmitError`]. In particular, what was read from the bus, or has a bridge as its source, is not emitted: a
    /// program that repeats what it hears would go on for ever.
    pub fn emit_event(&self, mut event: Event) -> Result<(), EmitError> {
        self.shared().publish(&mut event)
    }

    // --- calls

    /// Sends a command to an integration, and waits for its response.
    ///
    /// The command has a fresh correlation id and, by default, an idempotency key of its own. It is sent again with the
    /// same key until it is answered or the time is up; the bridge runs it once. If the bridge is killed in between, it
    /// forgets that, and the remote may be called twice.
    ///
    /// # Arguments
    ///
    /// * `integration`: its label in the bridge's configuration.
    /// * `operation`: `request`, `publish`, `enqueue`, … (bus contract, "Commands").
    /// * `payload`: its arguments. A `request` without `timeout_ms` gets that of the options.
    /// * `options`: time limit, key and headers.
    ///
    /// ```no_run
    /// use nemo_bridge_client::{CallOptions, Client, Settings};
    /// use serde_json::json;
    ///
    /// let client = Client::connect(Settings::from_env()?)?;
    /// let order = json!({"method": "orders.get", "params": {"id": 7}});
    /// let response = client.call("shop", "request", order, CallOptions::default())?;
    /// assert!(response.attempts > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn call(
        &self,
        integration: &str,
        operation: &str,
        payload: impl Into<Value>,
        options: CallOptions,
    ) -> Result<Response, CallError> {
        self.start_call(integration, operation, payload, options)?
            .wait()
    }

    /// Like [`call`](Client::call), but returns at once. The answer is for [`PendingCall`].
    ///
    /// # Errors
    ///
    /// The command was not sent.
    pub fn start_call(
        &self,
        integration: &str,
        operation: &str,
        payload: impl Into<Value>,
        options: CallOptions,
    ) -> Result<PendingCall, EmitError> {
        let (event_type, payload) =
            command(integration, operation, payload.into(), options.timeout);
        self.start_command(&event_type, payload, options)
    }

    /// Like [`call`](Client::call), but returns at once, and calls `then` when the call has ended.
    ///
    /// `then` is called by a thread of the client, and must not block.
    ///
    /// # Errors
    ///
    /// The command was not sent, and `then` is not called.
    pub fn call_then(
        &self,
        integration: &str,
        operation: &str,
        payload: impl Into<Value>,
        options: CallOptions,
        then: impl FnOnce(Result<Response, CallError>) + Send + 'static,
    ) -> Result<(), EmitError> {
        let (event_type, payload) =
            command(integration, operation, payload.into(), options.timeout);
        self.shared()
            .begin_call(event_type, payload, options, Box::new(then))
            .map(drop)
    }

    /// Sends a command to the bridge itself, and waits for its response.
    ///
    /// # Arguments
    ///
    /// * `operation`: `ping`, `status`, `reload`, … (bus contract, "Commands").
    /// * `payload`: its arguments.
    /// * `options`: time limit, key and headers.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn call_bridge(
        &self,
        operation: &str,
        payload: impl Into<Value>,
        options: CallOptions,
    ) -> Result<Response, CallError> {
        self.start_command(&format!("bridge.{operation}"), payload, options)?
            .wait()
    }

    /// Emits an event of any type with a fresh correlation id, for the response to which [`PendingCall`] waits. An event
    /// that a route takes is answered, too.
    ///
    /// # Errors
    ///
    /// The event was not emitted.
    pub fn start_command(
        &self,
        event_type: &str,
        payload: impl Into<Value>,
        options: CallOptions,
    ) -> Result<PendingCall, EmitError> {
        let (done, answer) = mpsc::channel();
        let done = Box::new(move |result| {
            // Nobody waits any more where this fails.
            let _ = done.send(result);
        });
        let correlation_id =
            self.shared()
                .begin_call(event_type.to_owned(), payload.into(), options, done)?;
        Ok(PendingCall {
            handle: Arc::clone(&self.handle),
            correlation_id,
            answer,
        })
    }

    // --- receiving

    /// Subscribes to the events that a filter selects.
    ///
    /// The bridge says its last values (health, static values, retained messages) to each new subscription, with the
    /// header `repeated`. Other subscriptions to the same types may get them again.
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        let most = self.shared().settings.receive_queue;
        Subscription {
            handle: Arc::clone(&self.handle),
            inbox: self.shared().join(Inbox::new(filter, most, false)),
        }
    }

    /// Follows the health of all bridges on the bus and their integrations, beginning with the current state.
    pub fn health(&self) -> HealthStream {
        HealthStream::new(Arc::clone(&self.handle))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.debug_struct("Client")
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}

/// Returns the event type and the payload of a command to an integration.
fn command(
    integration: &str,
    operation: &str,
    mut payload: Value,
    timeout: Duration,
) -> (String, Value) {
    if operation == "request" {
        if let Some(arguments) = payload.as_object_mut() {
            arguments
                .entry("timeout_ms")
                .or_insert_with(|| json!(millis(timeout).max(1)));
        }
    }
    (format!("integration.{integration}.{operation}"), payload)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

type Done = Box<dyn FnOnce(Result<Response, CallError>) + Send>;

/// One call that has not ended.
struct Call {
    event: Event,
    /// Whether it may be sent again.
    repeats: bool,
    /// The generation of subscriptions with which its response is received.
    generation: u64,
    timeout: Duration,
    deadline: Instant,
    sent: u32,
    /// When something has to be done for it.
    due: Instant,
    done: Done,
}

/// What the threads of a client share.
pub(crate) struct Shared {
    settings: Checked,
    publish_lane: Lane,
    subscribe_lane: Lane,
    numbers: Mutex<Numbers>,
    core: Mutex<Core>,
    /// Told to the timer when something is due earlier than it was.
    timer: Condvar,
    /// Told when a probe has come back, and at the end.
    ready: Condvar,
    inboxes: RwLock<Vec<Arc<Inbox>>>,
    received: AtomicU64,
    rejected: AtomicU64,
}

/// The numbers of what was emitted last, by source.
#[derive(Default)]
struct Numbers(HashMap<String, (u64, u64)>);

#[derive(Default)]
struct Core {
    calls: HashMap<String, Call>,
    dues: BinaryHeap<Reverse<(Instant, String)>>,
    names: u64,
    /// How many subscriptions have each prefix.
    prefixes: HashMap<String, usize>,
    /// The generation from which on the responses to a type are received.
    answered: HashMap<String, u64>,
    /// Rises with each new subscription and each change of a connection. A probe of a generation that comes back shows
    /// that the broker knows all subscriptions up to it, and forwards events.
    generation: u64,
    /// The last generation whose probe has come back.
    confirmed: u64,
    /// The first generation of the connections of the moment.
    floor: u64,
    /// The generation whose probe is subscribed to on the connection of the moment.
    probe: Option<u64>,
    probe_due: Option<Instant>,
    probe_wait: Duration,
    /// A number in the probe: it comes back when all that was emitted before it has reached the broker.
    mark: u64,
    marked: u64,
    links: [LinkState; 2],
    rejected: u64,
    rejected_why: String,
    rejected_told: Option<Instant>,
    stopped: bool,
}

impl Core {
    fn is_ready(&self) -> bool {
        self.is_connected() && self.confirmed >= self.generation
    }

    fn is_connected(&self) -> bool {
        self.links.iter().all(|link| link.connected)
    }

    /// Whether the response to a call with this generation would be received.
    fn receives(&self, generation: u64) -> bool {
        self.is_connected() && self.confirmed >= generation.max(self.floor)
    }

    fn new_generation(&mut self) {
        self.generation += 1;
        self.probe_due = Some(Instant::now());
        self.probe_wait = FIRST_PROBE;
    }

    fn trouble(&self) -> Option<String> {
        let lost = self.links.iter().find(|link| !link.connected);
        match lost {
            Some(link) => Some(match &link.trouble {
                Some(why) => format!("no connection to the bus: {why}"),
                None => "no connection to the bus yet".to_owned(),
            }),
            None if self.confirmed < self.floor => {
                Some("the bus does not forward our events".to_owned())
            }
            None => None,
        }
    }

    fn set_due(&mut self, correlation_id: &str, due: Instant) {
        if let Some(call) = self.calls.get_mut(correlation_id) {
            call.due = due;
            self.dues.push(Reverse((due, correlation_id.to_owned())));
        }
        if self.dues.len() > 2 * self.calls.len() + SPARE_DUES {
            let calls = &self.calls;
            self.dues.retain(|Reverse((due, correlation_id))| {
                calls
                    .get(correlation_id)
                    .is_some_and(|call| call.due == *due)
            });
        }
    }
}

impl Shared {
    fn new(settings: Checked) -> Shared {
        Shared {
            publish_lane: Lane::new(settings.send_queue),
            subscribe_lane: Lane::new(usize::MAX),
            numbers: Mutex::default(),
            core: Mutex::default(),
            timer: Condvar::new(),
            ready: Condvar::new(),
            inboxes: RwLock::default(),
            received: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            settings,
        }
    }

    pub(crate) fn lane(&self, role: Role) -> &Lane {
        match role {
            Role::Publish => &self.publish_lane,
            Role::Subscribe => &self.subscribe_lane,
        }
    }

    pub(crate) fn address(&self, role: Role) -> &Address {
        match role {
            Role::Publish => &self.settings.publish,
            Role::Subscribe => &self.settings.subscribe,
        }
    }

    pub(crate) fn curve(&self) -> Option<&Curve> {
        self.settings.curve.as_ref()
    }

    pub(crate) fn max_message(&self) -> usize {
        self.settings.max_message
    }

    pub(crate) fn silence(&self) -> Duration {
        self.settings.silence
    }

    pub(crate) fn receive_queue(&self) -> usize {
        self.settings.receive_queue
    }

    /// Tells the program; what it does with it is its own matter, also a panic.
    pub(crate) fn notice(&self, notice: &Notice) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.settings.on_notice)(notice)));
    }

    /// Ends everything; idempotent. What waits is still written, if there is a connection.
    fn stop(&self) {
        lock(&self.core).stopped = true;
        self.publish_lane.stop();
        self.subscribe_lane.stop();
        self.timer.notify_all();
        self.ready.notify_all();
        for inbox in self.all_inboxes().iter() {
            inbox.close();
        }
    }

    fn all_inboxes(&self) -> Vec<Arc<Inbox>> {
        self.inboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until a condition holds; returns whether it does before the given moment and the client's end.
    fn wait_until(&self, until: Instant, holds: impl Fn(&Core) -> bool) -> bool {
        let mut core = lock(&self.core);
        while !core.stopped && !holds(&core) {
            if Instant::now() >= until {
                return false;
            }
            core = wait(&self.ready, core, Some(until));
        }
        holds(&core)
    }

    /// Waits until the broker has all that was emitted.
    fn flush(&self, until: Instant) -> bool {
        let mark = {
            let mut core = lock(&self.core);
            core.mark += 1;
            core.new_generation();
            self.timer.notify_all();
            core.mark
        };
        self.wait_until(until, |core| core.marked >= mark)
    }

    // --- connections

    /// Notes a new connection; writes to it what it has to begin with.
    pub(crate) fn link_up(&self, role: Role) {
        let mut core = lock(&self.core);
        let first = match role {
            Role::Publish => Vec::new(),
            Role::Subscribe => core
                .prefixes
                .keys()
                .cloned()
                .map(Outgoing::Subscribe)
                .collect(),
        };
        self.lane(role).open(first);
        if role == Role::Subscribe {
            core.probe = None;
        }
        self.link_changed(
            &mut core,
            role,
            LinkState {
                connected: true,
                trouble: None,
            },
        );
    }

    /// Notes that a connection is lost, or cannot be made.
    pub(crate) fn link_down(&self, role: Role, why: &str) {
        let mut core = lock(&self.core);
        let lost = core.links[place(role)].connected;
        self.link_changed(
            &mut core,
            role,
            LinkState {
                connected: false,
                trouble: Some(why.to_owned()),
            },
        );
        drop(core);
        if lost && role == Role::Subscribe {
            for inbox in self.all_inboxes() {
                inbox.disconnected();
            }
        }
    }

    fn link_changed(&self, core: &mut Core, role: Role, state: LinkState) {
        core.links[place(role)] = state;
        core.new_generation();
        core.floor = core.generation;
        self.timer.notify_all();
    }

    // --- sending

    /// Numbers and sends an event.
    fn publish(&self, event: &mut Event) -> Result<(), EmitError> {
        if event.from_bus {
            return Err(EmitError::FromBus);
        }
        let source = event
            .source
            .clone()
            .unwrap_or_else(|| self.settings.source.clone());
        if is_bridge(&source) {
            return Err(EmitError::FromBridge(source));
        }
        if self.publish_lane.is_stopping() {
            return Err(EmitError::Closed);
        }
        let own = source == self.settings.source;
        // Held until the event is in the lane: there, the numbers rise.
        let mut numbers = lock(&self.numbers);
        if numbers.0.len() >= MOST_SOURCES && !numbers.0.contains_key(&source) {
            numbers.0.clear();
        }
        let (last_id, last_seq) = numbers.0.get(&source).copied().unwrap_or_default();
        if own || event.id == 0 {
            // A program may choose any id; the one after the largest is the largest again.
            event.id = last_id.saturating_add(1);
        }
        event.source = Some(source.clone());
        event
            .headers
            .insert("seq".to_owned(), (last_seq + 1).to_string());
        let body = event.encode()?;
        if body.len() > self.settings.max_message {
            let (size, most) = (body.len(), self.settings.max_message);
            return Err(
                InvalidError::new(format!("it has {size} bytes, the limit is {most}")).into(),
            );
        }
        if !self.publish_lane.has_room(body.len()) {
            return Err(EmitError::Full(self.publish_lane.len()));
        }
        numbers.0.insert(source, (event.id, last_seq + 1));
        self.publish_lane.push(Outgoing::Event {
            event_type: event.event_type.clone(),
            body,
        });
        Ok(())
    }

    // --- calls

    fn begin_call(
        &self,
        event_type: String,
        payload: Value,
        options: CallOptions,
        done: Done,
    ) -> Result<String, EmitError> {
        check_event_type(&event_type)?;
        if event_type.len() > MOST_ANSWERABLE {
            return Err(InvalidError::new(format!(
                "an event type that is answered has {MOST_ANSWERABLE} bytes at most"
            ))
            .into());
        }
        let mut event = Event::new(event_type, payload);
        event.headers = options.headers;
        let now = Instant::now();
        let repeats = options.key != Key::None;
        let mut core = lock(&self.core);
        if core.stopped {
            return Err(EmitError::Closed);
        }
        core.names += 1;
        let correlation_id = format!("{}-{}", self.settings.name, core.names);
        match options.key {
            Key::Fresh => drop(
                event
                    .headers
                    .insert("idempotency_key".to_owned(), correlation_id.clone()),
            ),
            Key::Given(key) => drop(event.headers.insert("idempotency_key".to_owned(), key)),
            Key::None => {}
        }
        event.correlation_id = Some(correlation_id.clone());
        let known = core.answered.get(&event.event_type).copied();
        let generation = known.unwrap_or_else(|| {
            // The subscription stays: who calls once will call again.
            self.add_prefix(
                &mut core,
                format!("{RESPONSE}{}", event.event_type),
                Outgoing::Renew,
            );
            let generation = core.generation;
            core.answered.insert(event.event_type.clone(), generation);
            generation
        });
        let mut call = Call {
            event,
            repeats,
            generation,
            timeout: options.timeout,
            deadline: after(options.timeout),
            sent: 0,
            due: now,
            done,
        };
        let sent = if core.receives(generation) {
            self.send_call(&mut call)
        } else {
            call.due = call.deadline + MARGIN;
            // A payload that cannot be sent is told at once, also where there is no connection yet.
            call.event.encode().map(drop).map_err(EmitError::from)
        };
        if let Err(error) = sent {
            // With the call ends what the program has put into `done`, which may use this client.
            drop(core);
            return Err(error);
        }
        let due = call.due;
        core.calls.insert(correlation_id.clone(), call);
        core.set_due(&correlation_id, due);
        self.timer.notify_all();
        Ok(correlation_id)
    }

    /// Sends a command, and notes when it has to be looked at again.
    fn send_call(&self, call: &mut Call) -> Result<(), EmitError> {
        let now = Instant::now();
        let left = call.deadline.saturating_duration_since(now);
        let deadline = now_ms().saturating_add(millis(left));
        call.event
            .headers
            .insert("deadline_ms".to_owned(), deadline.to_string());
        call.event.timestamp = now_ms();
        self.publish(&mut call.event)?;
        call.sent += 1;
        let wait = FIRST_REPEAT
            .saturating_mul(1 << (call.sent - 1).min(10))
            .min(LONGEST_REPEAT);
        let end = call.deadline + MARGIN;
        call.due = if call.repeats && now + wait < call.deadline {
            now + wait
        } else {
            end
        };
        Ok(())
    }

    /// Gives a call up; nobody is told.
    pub(crate) fn forget_call(&self, correlation_id: &str) {
        let call = lock(&self.core).calls.remove(correlation_id);
        // Not under the lock: with the call ends what the program has put into `done`.
        drop(call);
    }

    // --- subscriptions

    /// Registers an inbox, and subscribes to what it wants.
    pub(crate) fn join(&self, inbox: Inbox) -> Arc<Inbox> {
        let inbox = Arc::new(inbox);
        self.inboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&inbox));
        let mut core = lock(&self.core);
        for prefix in inbox.filter.prefixes() {
            self.add_prefix(&mut core, prefix, Outgoing::Renew);
        }
        if core.stopped {
            inbox.close();
        } else if !core.links[place(Role::Subscribe)].connected {
            inbox.disconnected();
        }
        self.timer.notify_all();
        inbox
    }

    /// Takes an inbox back.
    pub(crate) fn leave(&self, inbox: &Arc<Inbox>) {
        self.inboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|one| !Arc::ptr_eq(one, inbox));
        let mut core = lock(&self.core);
        for prefix in inbox.filter.prefixes() {
            if let Some(count) = core.prefixes.get_mut(&prefix) {
                *count -= 1;
                if *count == 0 {
                    core.prefixes.remove(&prefix);
                    self.subscribe_lane.push_if_open(Outgoing::Cancel(prefix));
                }
            }
        }
    }

    /// Adds a prefix; `again` is done where it is there already.
    fn add_prefix(&self, core: &mut Core, prefix: String, again: fn(String) -> Outgoing) {
        let count = core.prefixes.entry(prefix.clone()).or_default();
        *count += 1;
        self.subscribe_lane.push_if_open(if *count == 1 {
            Outgoing::Subscribe(prefix)
        } else {
            again(prefix)
        });
        core.new_generation();
    }

    // --- receiving

    /// Takes a message of two frames.
    pub(crate) fn on_message(&self, event_type: &[u8], body: &[u8]) {
        self.received.fetch_add(1, Ordering::Relaxed);
        let event = match Event::decode(body) {
            Ok(event) if event.event_type.as_bytes() == event_type => event,
            Ok(_) => return self.rejected("`event_type` differs from the first frame"),
            Err(error) => return self.rejected(&error.to_string()),
        };
        if let Some(rest) = event.event_type.strip_prefix(self.settings.own.as_str()) {
            if let Some(generation) = rest
                .strip_prefix(".hello.")
                .and_then(|text| text.parse().ok())
            {
                return self.on_probe(generation, event.payload.as_u64().unwrap_or_default());
            }
        }
        let inboxes = self.inboxes.read().unwrap_or_else(PoisonError::into_inner);
        for inbox in inboxes.iter() {
            if inbox
                .filter
                .matches(&event.event_type, event.source.as_deref())
            {
                inbox.put(event.clone(), body.len());
            }
        }
        drop(inboxes);
        if event.event_type.starts_with(RESPONSE) {
            self.on_response(event);
        }
    }

    fn on_probe(&self, generation: u64, mark: u64) {
        let mut core = lock(&self.core);
        if generation < core.floor {
            return;
        }
        core.confirmed = core.confirmed.max(generation);
        core.marked = core.marked.max(mark);
        // Calls that waited for it go out now, and so do those that may have been lost with the connection before.
        let now = Instant::now();
        let waiting: Vec<String> = core
            .calls
            .iter()
            .filter(|(_, call)| {
                core.receives(call.generation)
                    && (call.sent == 0 || (call.repeats && call.generation < core.floor))
            })
            .map(|(correlation_id, _)| correlation_id.clone())
            .collect();
        for correlation_id in waiting {
            let floor = core.floor;
            if let Some(call) = core.calls.get_mut(&correlation_id) {
                call.generation = call.generation.max(floor);
                call.sent = 0;
            }
            core.set_due(&correlation_id, now);
        }
        self.timer.notify_all();
        self.ready.notify_all();
    }

    fn on_response(&self, event: Event) {
        let Some(correlation_id) = event.correlation_id.clone() else {
            return;
        };
        let mut core = lock(&self.core);
        let Some(call) = core.calls.get(&correlation_id) else {
            return;
        };
        if event.event_type.strip_prefix(RESPONSE) != Some(call.event.event_type.as_str()) {
            return;
        }
        let Some(answer) = read_answer(event) else {
            drop(core);
            return self.rejected("a response that is none");
        };
        let now = Instant::now();
        if let Err(failure) = &answer {
            // The bridge has begun nothing. Another one may follow it.
            if failure.error.kind == ErrorKind::Stopping
                && call.repeats
                && now + PAUSE < call.deadline
            {
                core.set_due(&correlation_id, now + PAUSE);
                self.timer.notify_all();
                return;
            }
        }
        let Some(call) = core.calls.remove(&correlation_id) else {
            return;
        };
        drop(core);
        end_call(call, answer.map_err(CallError::Failed));
    }

    /// Counts a message that is no event, and tells it at a limited rate.
    pub(crate) fn rejected(&self, why: &str) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let mut core = lock(&self.core);
        core.rejected += 1;
        why.clone_into(&mut core.rejected_why);
        self.timer.notify_all();
    }

    // --- time

    /// Does what is due, until the client ends.
    fn keep_time(&self) {
        let mut core = lock(&self.core);
        while !core.stopped {
            let now = Instant::now();
            let ended = self.do_dues(&mut core, now);
            let rejected = due_rejected(&mut core, now);
            if !ended.is_empty() || rejected.is_some() {
                drop(core);
                ended
                    .into_iter()
                    .for_each(|(call, result)| end_call(call, result));
                if let Some(notice) = rejected {
                    self.notice(&notice);
                }
                core = lock(&self.core);
                continue;
            }
            self.probe(&mut core, now);
            let next = core.dues.peek().map(|Reverse((due, _))| *due);
            let told = core
                .rejected_told
                .filter(|_| core.rejected > 0)
                .map(|told| told + REJECTED_INTERVAL);
            let until = [next, core.probe_due, told].into_iter().flatten().min();
            core = wait(&self.timer, core, until);
        }
        let calls = std::mem::take(&mut core.calls);
        drop(core);
        calls
            .into_values()
            .for_each(|call| end_call(call, Err(CallError::Closed)));
    }

    /// Sends what has to be sent again; returns the calls that have ended.
    fn do_dues(&self, core: &mut Core, now: Instant) -> Vec<(Call, Result<Response, CallError>)> {
        let mut ended = Vec::new();
        while core
            .dues
            .peek()
            .is_some_and(|Reverse((due, _))| *due <= now)
        {
            let Some(Reverse((due, correlation_id))) = core.dues.pop() else {
                break;
            };
            // An entry of a call that has ended, or that is due at another moment, has no meaning.
            let Some(call) = core
                .calls
                .get(&correlation_id)
                .filter(|call| call.due == due)
            else {
                continue;
            };
            if now >= call.deadline + MARGIN {
                let bus = core.trouble();
                if let Some(call) = core.calls.remove(&correlation_id) {
                    let event_type = call.event.event_type.clone();
                    let waited = call.timeout;
                    ended.push((
                        call,
                        Err(CallError::NoAnswer {
                            event_type,
                            waited,
                            bus,
                        }),
                    ));
                }
                continue;
            }
            let receives = core.receives(call.generation);
            let Some(call) = core.calls.get_mut(&correlation_id) else {
                continue;
            };
            if !receives || now >= call.deadline {
                // Where nothing can be sent, the next probe that comes back makes it due.
                call.due = call.deadline + MARGIN;
            } else if let Err(error) = self.send_call(call) {
                match error {
                    EmitError::Full(_) => call.due = now + FIRST_REPEAT,
                    error => {
                        if let Some(call) = core.calls.remove(&correlation_id) {
                            ended.push((call, Err(error.into())));
                        }
                        continue;
                    }
                }
            }
            let due = call.due;
            core.set_due(&correlation_id, due);
        }
        ended
    }

    /// Sends a probe, if one is due.
    fn probe(&self, core: &mut Core, now: Instant) {
        if core.is_ready() && core.marked >= core.mark || !core.is_connected() {
            core.probe_due = None;
        }
        if core.probe_due.is_none_or(|due| due > now) {
            return;
        }
        let generation = core.generation;
        let name = |generation: u64| format!("{}.hello.{generation}", self.settings.own);
        if core.probe != Some(generation) {
            self.subscribe_lane
                .push_if_open(Outgoing::Subscribe(name(generation)));
            if let Some(old) = core.probe {
                self.subscribe_lane
                    .push_if_open(Outgoing::Cancel(name(old)));
            }
            core.probe = Some(generation);
        }
        // Where there is no room, the next one may find some.
        let _ = self.publish(&mut Event::new(name(generation), core.mark));
        core.probe_due = Some(now + core.probe_wait);
        core.probe_wait = core.probe_wait.saturating_mul(2).min(LONGEST_PROBE);
    }
}

/// Returns the place of a connection's state.
fn place(role: Role) -> usize {
    match role {
        Role::Publish => 0,
        Role::Subscribe => 1,
    }
}

fn due_rejected(core: &mut Core, now: Instant) -> Option<Notice> {
    if core.rejected == 0
        || core
            .rejected_told
            .is_some_and(|told| now < told + REJECTED_INTERVAL)
    {
        return None;
    }
    core.rejected_told = Some(now);
    Some(Notice::Rejected {
        count: std::mem::take(&mut core.rejected),
        why: std::mem::take(&mut core.rejected_why),
    })
}

/// Tells how a call has ended. A panic of the program's code ends no thread of ours.
fn end_call(call: Call, result: Result<Response, CallError>) {
    let _ = catch_unwind(AssertUnwindSafe(|| (call.done)(result)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client whose bus is nowhere.
    fn alone() -> Client {
        let settings = Settings::default()
            .publish("ipc:///nowhere/p")
            .subscribe("ipc:///nowhere/s");
        Client::connect(settings).expect("endpoints that can be used")
    }

    // What a program has put into `then` may use the client when it ends, also where the call was not sent.
    #[test]
    fn a_call_that_is_refused_ends_outside_of_locks() {
        let (ended, is_ended) = mpsc::channel();
        thread::spawn(move || {
            let client = alone();
            let captured = client.subscribe(Filter::prefix("a."));
            let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
            let refused = client.call_then("shop", "x", deep, CallOptions::default(), move |_| {
                drop(captured);
            });
            let _ = ended.send(refused.is_err());
        });

        let refused = is_ended.recv_timeout(Duration::from_secs(20));

        assert_eq!(refused, Ok(true));
    }

    // The largest id that a program can choose ends nothing.
    #[test]
    fn the_largest_id() {
        let client = alone();
        let other = || Event::new("a", 1).with_source("other");

        assert_eq!(client.emit_event(other().with_id(u64::MAX)), Ok(()));
        assert_eq!(client.emit_event(other()), Ok(()));
    }

    // Calls that have ended take no memory until their time limit, however long that is.
    #[test]
    fn ended_calls_take_no_memory() {
        let client = alone();
        let day = CallOptions::default().timeout(Duration::from_secs(24 * 3600));

        for _ in 0..10_000 {
            assert!(client.start_call("shop", "x", 1, day.clone()).is_ok());
        }

        assert!(lock(&client.shared().core).dues.len() < 5_000);
    }
}

//! Subscriptions: events that a filter selects, in the order of their arrival.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Handle;
use crate::errors::RecvError;
use crate::event::Event;
use crate::inbox::{Inbox, Taken};
use crate::sync::after;

/// The events that a filter selects; [`Client::subscribe`](crate::Client::subscribe) makes it.
///
/// As many events may wait as the settings say. A program that is slower misses the oldest, and is told how many by
/// [`RecvError::Missed`]. Dropping it ends the subscription.
///
/// ```no_run
/// use nemo_bridge_client::{Client, Filter, RecvError, Settings};
///
/// let client = Client::connect(Settings::from_env()?)?;
/// for received in client.subscribe(Filter::parse("order.**")?).iter() {
///     match received {
///         Ok(event) => println!("{}: {}", event.event_type, event.payload),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscription {
    pub(crate) handle: Arc<Handle>,
    pub(crate) inbox: Arc<Inbox>,
}

impl Subscription {
    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// [`RecvError::Missed`] or [`RecvError::Closed`].
    pub fn recv(&self) -> Result<Event, RecvError> {
        self.take(None)
    }

    /// Waits for the next event, for some time at most.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvError> {
        self.take(Some(after(timeout)))
    }

    /// Returns the next event, if there is one already.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn try_recv(&self) -> Result<Event, RecvError> {
        self.take(Some(Instant::now()))
    }

    /// Returns an iterator that waits for each event, and ends with the client. Its errors say how many events were
    /// missed at their place.
    pub fn iter(&self) -> impl Iterator<Item = Result<Event, RecvError>> + '_ {
        std::iter::from_fn(|| {
            Some(self.recv()).filter(|received| *received != Err(RecvError::Closed))
        })
    }

    fn take(&self, until: Option<Instant>) -> Result<Event, RecvError> {
        match self.inbox.take(until) {
            Taken::Event(arrived) => Ok(arrived.event),
            Taken::Missed(count) => Err(RecvError::Missed(count)),
            Taken::Closed => Err(RecvError::Closed),
            Taken::Nothing | Taken::Disconnected => Err(RecvError::Empty),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.shared.leave(&self.inbox);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.debug_struct("Subscription")
            .field("filter", &self.inbox.filter)
            .finish_non_exhaustive()
    }
}

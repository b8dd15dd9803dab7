//! Runs sessions on a thread of their own, so that the thread of the user interface never waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nemo_plugin_api::{LogLevel, PluginContext};

use crate::session::{Bus, Session};

/// How often the paths of the application are read.
const POLL: Duration = Duration::from_millis(20);

/// The pause after a failure that should not happen, and the longest that repeated ones lead to.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The applications that the plugin works for in this process.
///
/// Nemo loads a project again by making a new application. Nobody tells the plugin that the old one is gone, so it is
/// told by the number of its owners.
static CONTEXTS: Mutex<Vec<Arc<dyn PluginContext>>> = Mutex::new(Vec::new());

/// Begin to work for an application, and stop to work for those that are gone.
///
/// # Errors
///
/// The thread cannot be started.
pub fn start<B: Bus + Send + 'static>(
    context: Arc<dyn PluginContext>,
    session: Session<B>,
) -> Result<(), std::io::Error>
where
    B::Pending: Send,
{
    let mut contexts = CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    // This list and the worker's thread own one each.
    contexts.retain(|context| Arc::strong_count(context) > 2);
    contexts.push(Arc::clone(&context));
    std::thread::Builder::new()
        .name("nemo-bridge".to_owned())
        .spawn(move || run(&context, session))?;
    Ok(())
}

fn is_wanted(context: &Arc<dyn PluginContext>) -> bool {
    let contexts = CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    contexts.iter().any(|known| Arc::ptr_eq(known, context))
}

fn run<B: Bus>(context: &Arc<dyn PluginContext>, mut session: Session<B>) {
    let mut pause = FIRST_PAUSE;
    let mut looked = Instant::now();
    loop {
        let began = Instant::now();
        // A session stays whole: whatever it handles is taken out of its queues first.
        let step = catch_unwind(AssertUnwindSafe(|| session.step(&**context, POLL)));
        if step.is_err() {
            let message = "the plugin has failed in a way that is its own fault; it goes on";
            let _ = catch_unwind(AssertUnwindSafe(|| context.log(LogLevel::Error, message)));
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        } else if began.elapsed() < POLL * 10 {
            pause = FIRST_PAUSE;
        }
        if looked.elapsed() >= Duration::from_secs(1) {
            looked = Instant::now();
            if !is_wanted(context) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nemo_bridge_client::Event;
    use nemo_bridge_host::Application;
    use serde_json::{Value, json};

    use super::*;
    use crate::entry::{Call, Emit};
    use crate::session::{PendingAnswer, Received, Refusal};
    use crate::settings::Settings;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A bus that panics the first times that something is received.
    struct PanickingBus {
        panics: usize,
        is_over: Arc<AtomicUsize>,
    }

    struct NoAnswer;

    impl PendingAnswer for NoAnswer {
        fn poll(&mut self) -> Option<Value> {
            None
        }
    }

    impl Bus for PanickingBus {
        type Pending = NoAnswer;

        fn source(&self) -> &'static str {
            "desk"
        }

        fn emit(&mut self, _event: &Emit) -> Result<(), Refusal> {
            Ok(())
        }

        fn start_call(&mut self, _call: &Call, _timeout: Duration) -> Result<NoAnswer, Refusal> {
            Ok(NoAnswer)
        }

        fn receive(&mut self, limit: Duration) -> Option<Received> {
            if self.panics > 0 {
                self.panics -= 1;
                panic!("on purpose");
            }
            std::thread::sleep(limit.min(Duration::from_millis(1)));
            (!limit.is_zero())
                .then(|| Received::Event(Event::new("message.a", json!(1)).with_source("bridge")))
        }
    }

    impl Drop for PanickingBus {
        fn drop(&mut self) {
            self.is_over.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn start_with(panics: usize) -> (Arc<Application>, Arc<AtomicUsize>) {
        let (application, is_over) = (Application::new(&[]), Arc::default());
        let bus = PanickingBus {
            panics,
            is_over: Arc::clone(&is_over),
        };
        start(application.clone(), Session::new(bus, Settings::default())).expect("a thread");
        (application, is_over)
    }

    // A panic in the plugin is told, and the plugin goes on. An application that is gone has its worker ended when the
    // next one begins, and one that is still there has not.
    #[test]
    fn panics_and_applications_that_are_gone() {
        let (first, first_over) = start_with(2);
        let is_stored = || first.get_data("bridge.message.a").is_some();
        first
            .wait("an event after two panics", LIMIT, is_stored)
            .expect("in time");
        let failures = first
            .log_lines()
            .iter()
            .filter(|(level, _)| *level == LogLevel::Error)
            .count();
        assert_eq!(failures, 2);

        let (second, second_over) = start_with(0);
        drop(first);
        let (third, _) = start_with(0);
        third
            .wait("the first worker's end", LIMIT, || {
                first_over.load(Ordering::SeqCst) == 1
            })
            .expect("in time");
        assert_eq!(second_over.load(Ordering::SeqCst), 0);
        assert!(Arc::strong_count(&second) > 1);
    }
}

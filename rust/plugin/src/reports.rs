//! Tells the application's log what went wrong, without filling it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nemo_plugin_api::{LogLevel, PluginContext};

/// How long a report of one kind keeps further ones of this kind out of the log.
const INTERVAL: Duration = Duration::from_secs(10);

/// Write reports, at most one of each kind in ten seconds; the others are counted and told later.
#[derive(Default)]
pub struct Reports {
    kinds: HashMap<&'static str, Kind>,
}

struct Kind {
    written: Instant,
    held_back: u64,
    last: String,
}

impl Reports {
    /// Write a warning, or count it.
    ///
    /// # Arguments
    ///
    /// * `kind`: what kind of report it is.
    /// * `message`: what went wrong and where. It holds no payload, since a payload may hold secrets.
    pub fn warn(
        &mut self,
        context: &dyn PluginContext,
        now: Instant,
        kind: &'static str,
        message: String,
    ) {
        if let Some(known) = self.kinds.get_mut(kind) {
            if now < known.written + INTERVAL {
                known.held_back += 1;
                known.last = message;
                return;
            }
        }
        context.log(LogLevel::Warn, &message);
        self.kinds.insert(
            kind,
            Kind {
                written: now,
                held_back: 0,
                last: String::new(),
            },
        );
    }

    /// Tell what was held back long enough ago.
    pub fn flush(&mut self, context: &dyn PluginContext, now: Instant) {
        for kind in self.kinds.values_mut() {
            if kind.held_back > 0 && now >= kind.written + INTERVAL {
                context.log(
                    LogLevel::Warn,
                    &format!(
                        "{} more of this kind; the last: {}",
                        kind.held_back, kind.last
                    ),
                );
                kind.written = now;
                kind.held_back = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nemo_bridge_host::Application;

    use super::*;

    // The first report of each kind is written at once, further ones are counted, and the last of them is told later.
    #[test]
    fn reports_are_limited() {
        let (application, mut reports) = (Application::new(&[]), Reports::default());
        let begin = Instant::now();
        for number in 0..100 {
            reports.warn(&*application, begin, "a", format!("a{number}"));
        }
        reports.warn(&*application, begin, "b", "b".to_owned());
        reports.flush(&*application, begin + INTERVAL / 2);
        reports.flush(&*application, begin + INTERVAL);
        reports.flush(&*application, begin + 3 * INTERVAL);
        reports.warn(&*application, begin + 4 * INTERVAL, "a", "again".to_owned());

        let lines: Vec<_> = application
            .log_lines()
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        assert_eq!(
            lines,
            ["a0", "b", "99 more of this kind; the last: a99", "again"]
        );
    }
}

//! Runs the plugin without Nemo: reads commands from standard input, and writes what a user interface would show.
//!
//! ```text
//! nemo-bridge-host target/debug/libnemo_bridge_plugin.so data.bridge.health.bridge.status
//! set bridge.call {"integration": "bridge", "operation": "status"}
//! get bridge.answers.last.ok
//! ```
//!
//! Each argument after the library is a path that is bound, as by `bind-text` in an `app.nemo`. Each line of the output
//! is a JSON object with `path` and `value`, with `log`, or with `error` where a command is wrong.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nemo_bridge_host::{Application, Bindings, Plugin};
use nemo_plugin_api::{PluginContext, PluginValue};
use serde_json::{Value, json};

/// How often the user interface looks for changes.
const FRAME: Duration = Duration::from_millis(16);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next() {
        Some(library) => run(Path::new(&library), &arguments.collect::<Vec<_>>()),
        None => Err("usage: nemo-bridge-host LIBRARY [PATH...]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            say(&json!({"error": message}));
            ExitCode::FAILURE
        }
    }
}

fn run(library: &Path, paths: &[String]) -> Result<(), String> {
    let application = Application::new(&[]);
    let plugin = Plugin::load(library)?;
    plugin.start(&application)?;
    let (sender, commands) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut shown = Bindings::to(paths.iter().map(String::as_str));
    let mut before: Vec<Option<PluginValue>> = vec![None; paths.len()];
    let mut logged = 0;
    loop {
        match commands.recv_timeout(FRAME) {
            Ok(line) => {
                // A mistake in one line is told, and the next one is read.
                if let Err(message) = command(&application, &line) {
                    say(&json!({"error": message}));
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
        shown.update(&application);
        for (path, before) in paths.iter().zip(&mut before) {
            let now = shown.shown(path);
            if now != before.as_ref() {
                *before = now.cloned();
                say(&json!({"path": path, "value": json_of(now)?}));
            }
        }
        let log = application.log_lines();
        for (level, message) in &log[logged..] {
            say(&json!({"log": message, "level": format!("{level:?}")}));
        }
        logged = log.len();
    }
}

fn command(application: &Application, line: &str) -> Result<(), String> {
    let wrong = || format!("'{line}' is neither 'set PATH JSON' nor 'get PATH'");
    match *line.splitn(3, ' ').collect::<Vec<_>>() {
        [] | [""] => Ok(()),
        ["set", path, json] => {
            let value: PluginValue = serde_json::from_str(json)
                .map_err(|error| format!("'{json}' is no JSON: {error}"))?;
            application
                .set_data(path, value)
                .map_err(|error| error.to_string())
        }
        ["get", path] => {
            let value = application.get_data(path);
            say(&json!({"path": format!("data.{path}"), "value": json_of(value.as_ref())?}));
            Ok(())
        }
        _ => Err(wrong()),
    }
}

fn json_of(value: Option<&PluginValue>) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

fn say(line: &Value) {
    // Nobody reads any more if this fails, and the end of the input comes next.
    let _ = writeln!(std::io::stdout(), "{line}");
}

//! The example of docs/nemo.md: its script, its user interface and its configuration fit together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nemo_bridge_host::{Application, Bindings, Plugin, Programs, Service, Sidecar, built_plugin};
use nemo_plugin_api::{LogLevel, PluginContext, PluginValue};
use rhai::{Dynamic, Engine, Scope};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/nemo")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(example(name)).expect("the example has this file")
}

/// Run a script as Nemo does: with its limits, and with the functions that the example uses.
struct Script {
    engine: Engine,
    ast: rhai::AST,
    scope: Scope<'static>,
}

impl Script {
    fn load(application: &Arc<Application>) -> Self {
        let mut engine = Engine::new();
        engine.set_max_operations(100_000);
        engine.set_max_string_size(64 * 1024);
        engine.set_max_array_size(10_000);
        engine.set_max_map_size(10_000);
        engine.set_max_call_levels(64);
        let context = Arc::clone(application);
        engine.register_fn("get_data", move |path: &str| {
            context.get_data(path).map_or(Dynamic::UNIT, to_dynamic)
        });
        let context = Arc::clone(application);
        engine.register_fn("set_data", move |path: &str, value: Dynamic| {
            context
                .set_data(path, from_dynamic(value))
                .expect("a path that can be set");
        });
        let context = Arc::clone(application);
        engine.register_fn("log_error", move |message: &str| {
            context.log(LogLevel::Error, message)
        });
        let ast = engine
            .compile(read("scripts/bridge.rhai"))
            .expect("the script is valid");
        let mut scope = Scope::new();
        engine
            .run_ast_with_scope(&mut scope, &ast)
            .expect("the script runs");
        Self { engine, ast, scope }
    }

    fn call(&mut self, function: &str, arguments: impl rhai::FuncArgs) -> i64 {
        self.engine
            .call_fn(&mut self.scope, &self.ast, function, arguments)
            .expect("the function runs")
    }

    /// Call a handler as a component of the user interface does.
    fn press(&mut self, handler: &str, component: &str) {
        let function = handler.strip_prefix("bridge::").expect("the script's name");
        let _ = self
            .engine
            .call_fn::<Dynamic>(
                &mut self.scope,
                &self.ast,
                function,
                (component.to_owned(), "click".to_owned()),
            )
            .expect("the handler runs");
    }
}

fn to_dynamic(value: PluginValue) -> Dynamic {
    match value {
        PluginValue::Null => Dynamic::UNIT,
        PluginValue::Bool(value) => value.into(),
        PluginValue::Integer(value) => value.into(),
        PluginValue::Float(value) => value.into(),
        PluginValue::String(value) => value.into(),
        PluginValue::Array(items) => items.into_iter().map(to_dynamic).collect::<Vec<_>>().into(),
        PluginValue::Object(object) => object
            .into_iter()
            .map(|(key, value)| (key.into(), to_dynamic(value)))
            .collect::<rhai::Map>()
            .into(),
    }
}

fn from_dynamic(value: Dynamic) -> PluginValue {
    if value.is_unit() {
        PluginValue::Null
    } else if let Ok(value) = value.as_bool() {
        PluginValue::Bool(value)
    } else if let Ok(value) = value.as_int() {
        PluginValue::Integer(value)
    } else if let Ok(value) = value.as_float() {
        PluginValue::Float(value)
    } else if value.is_map() {
        let map: rhai::Map = value.cast();
        PluginValue::Object(
            map.into_iter()
                .map(|(key, value)| (key.into(), from_dynamic(value)))
                .collect(),
        )
    } else if value.is_array() {
        PluginValue::Array(
            value
                .into_array()
                .expect("an array")
                .into_iter()
                .map(from_dynamic)
                .collect(),
        )
    } else {
        PluginValue::String(value.into_string().expect("text"))
    }
}

/// Return the values of some attributes in an `app.nemo`, without its comments.
fn attributes(text: &str, names: &[&str]) -> Vec<String> {
    let text: String = text
        .split("<!--")
        .enumerate()
        .map(|(index, part)| {
            if index == 0 {
                part
            } else {
                part.split_once("-->").expect("its end").1
            }
        })
        .collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut values = Vec::new();
    for name in names {
        for after in text.split(&format!(" {name}=\"")).skip(1) {
            values.push(after.split('"').next().unwrap_or_default().to_owned());
        }
    }
    values
}

// Everything that the example's user interface shows gets a value when its buttons are pressed beside the real sidecar with
// the example's own configuration; the labels show the answers.
#[test]
fn the_example_works() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let app = read("app.nemo");
    let service = Service::start(&programs);
    let configuration = read("bridge.hcl").replace("http://127.0.0.1:8700/rpc", &service.url);
    let mut sidecar = Sidecar::prepare(&programs, &configuration);
    sidecar.start();
    let text = |text: String| PluginValue::String(text);
    let application = Application::new(&[
        ("publish", text(sidecar.publish())),
        ("subscribe", text(sidecar.subscribe())),
    ]);
    let plugin = Plugin::load(&built_plugin().expect("it is built")).expect("it is a plugin");
    plugin.start(&application).expect("it has an entry");
    let mut script = Script::load(&application);

    let paths: BTreeSet<String> = attributes(&app, &["bind-text", "source", "n:if"])
        .into_iter()
        .map(|value| {
            value
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert!(
        paths.contains("data.bridge.health.shop.status")
            && paths.contains("data.orders.placed.result.number")
    );
    let handlers = attributes(&app, &["on-click"]);
    assert_eq!(handlers, ["bridge::place_order", "bridge::wish_order"]);
    let mut shown = Bindings::to(paths.iter().map(String::as_str));
    let connected = || {
        application.get_data("bridge.health.shop.status")
            == Some(PluginValue::String("connected".to_owned()))
    };
    application
        .wait("the shop's health", Duration::from_secs(30), connected)
        .expect("in time");
    for handler in &handlers {
        script.press(handler, "button");
    }

    // An error is shown only when there is one.
    let expected: Vec<_> = paths
        .iter()
        .filter(|path| !path.ends_with(".error.message"))
        .collect();
    let all_shown = || {
        shown.update(&application);
        let has_value = |path: &str| {
            shown
                .shown(path)
                .is_some_and(|value| *value != PluginValue::Null)
        };
        expected.iter().all(|path| has_value(path))
    };
    let result = application.wait(
        "a value for each binding",
        Duration::from_secs(30),
        all_shown,
    );
    result.unwrap_or_else(|message| {
        panic!(
            "{message}; shown: {shown:#?}; the sidecar: {}",
            sidecar.log()
        )
    });
    assert_eq!(
        shown.shown("data.bridge.order.confirmed.id"),
        Some(&text("B-8".to_owned()))
    );
    assert_eq!(
        shown.shown("data.bridge.data.limits.message.orders"),
        Some(&PluginValue::Integer(20))
    );
}

// The script's helper numbers what it puts, says so when there is no room or no plugin, and stays within Nemo's limits
// for a thousand entries in one place.
#[test]
fn the_helper_numbers_entries() {
    let application = Application::new(&[]);
    let mut script = Script::load(&application);
    let put = |script: &mut Script, n: i64| {
        script.call("bridge_emit", (format!("e{n}"), "x".repeat(500)))
    };

    assert_eq!(put(&mut script, 0), 0);
    assert!(
        application.log_lines()[0]
            .1
            .contains("the plugin is not loaded")
    );
    application
        .set_data("bridge.taken", PluginValue::Integer(0))
        .expect("a path that can be set");
    for number in 1..=4096 {
        assert_eq!(put(&mut script, number), number);
    }
    assert_eq!(put(&mut script, 4097), 0);
    assert!(
        application.log_lines()[1]
            .1
            .contains("4096 entries wait already")
    );
    application
        .set_data("bridge.taken", PluginValue::Integer(1))
        .expect("a path that can be set");
    assert_eq!(put(&mut script, 4097), 4097);
    assert_eq!(
        application.get_data("bridge.queue.last"),
        Some(PluginValue::Integer(4097))
    );
    assert_eq!(
        application.get_data("bridge.queue.s1.n"),
        Some(PluginValue::Integer(4097))
    );
}

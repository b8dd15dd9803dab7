//! The built plugin in an application, beside the real sidecar: loaded and called as Nemo does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nemo_bridge_client::{Client, Filter, Settings};
use nemo_bridge_host::{
    Application, Bindings, Broker, Plugin, Programs, Service, Sidecar, built_plugin,
};
use nemo_plugin_api::{LogLevel, PluginContext, PluginValue};
use serde_json::{Value, json};

/// Long enough for a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(30);

/// What a call of the user interface may take, so that no frame is missed.
const FRAME_BUDGET: Duration = Duration::from_millis(5);

/// Load the plugin into a new application.
fn load(sidecar: &Sidecar) -> (Arc<Application>, Plugin) {
    load_with(sidecar, &[])
}

fn load_with(sidecar: &Sidecar, attributes: &[(&str, &str)]) -> (Arc<Application>, Plugin) {
    let text = |text: &str| PluginValue::String(text.to_owned());
    let mut plugin = vec![
        ("publish", text(&sidecar.publish())),
        ("subscribe", text(&sidecar.subscribe())),
    ];
    plugin.extend(attributes.iter().map(|(key, value)| (*key, text(value))));
    let application = Application::new(&plugin);
    let plugin = Plugin::load(&built_plugin().expect("it is built")).expect("it is a plugin");
    plugin.start(&application).expect("it has an entry");
    (application, plugin)
}

fn put(application: &Application, path: &str, json: Value) {
    let value: PluginValue = serde_json::from_value(json).expect("JSON is a value");
    application
        .set_data(path, value)
        .expect("a path that can be set");
}

fn at(application: &Application, path: &str) -> Value {
    serde_json::to_value(application.get_data(path)).expect("a value is JSON")
}

/// Wait until a path has a value.
fn wait(application: &Application, sidecar: &Sidecar, path: &str, expected: &Value) {
    let result = application.wait(path, LIMIT, || at(application, path) == *expected);
    if let Err(message) = result {
        let value = at(application, path);
        panic!(
            "{message}; it is {value} instead of {expected}; the sidecar's log: {}",
            sidecar.log()
        );
    }
}

fn events(broker: &Broker, config: &str) -> String {
    format!(
        r#"
integration "events" {{
  type = "mqtt"
  endpoint {{
    address = "127.0.0.1"
    port    = {}
    tls     = false
  }}
  config {{
    {config}
  }}
}}
"#,
        broker.port
    )
}

fn shop(service: &Service) -> String {
    format!(
        r#"
integration "shop" {{
  type = "json-rpc"
  endpoint {{
    url = "{}"
  }}
  resilience {{
    timeout = "1s"
  }}
  health {{
    interval = "200ms"
    timeout  = "1s"
  }}
}}
"#,
        service.url
    )
}

// A value that is set becomes a call, and its answer appears. The service dies, and its health says so; it comes back.
// Nonsense in between is told and harms nothing.
#[test]
fn calls_answers_and_health() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let mut service = Service::start(&programs);
    let mut sidecar = Sidecar::prepare(&programs, &shop(&service));
    sidecar.start();
    let (application, plugin) = load(&sidecar);
    assert_eq!(plugin.manifest.id, "nemo-bridge");
    let mut shown = Bindings::to(["data.orders.sum.result", "data.bridge.health.shop.status"]);
    wait(
        &application,
        &sidecar,
        "bridge.health.shop.status",
        &json!("connected"),
    );

    put(
        &application,
        "bridge.call",
        json!([
            {"integration": "shop"}, "nonsense", {"integration": 7}, {"integration": "shop", "into": "x.7"},
            {"integration": "nobody", "method": "x", "into": "orders.nobody"},
            {"integration": "shop", "method": "fail", "params": {"code": 7, "message": "sold out"}, "into": "orders.failed"},
            {"integration": "shop", "method": "add", "params": [1, 2], "into": "data.orders.sum"},
        ]),
    );

    wait(&application, &sidecar, "orders.sum.result", &json!(3));
    wait(
        &application,
        &sidecar,
        "orders.nobody.error.kind",
        &json!("unknown_integration"),
    );
    wait(
        &application,
        &sidecar,
        "orders.failed.error.message",
        &json!("sold out"),
    );
    assert_eq!(at(&application, "orders.failed.error.code"), json!(7));
    assert_eq!(at(&application, "bridge.rejected.count"), json!(3));
    assert_eq!(at(&application, "bridge.call"), Value::Null);
    shown.update(&application);
    assert_eq!(
        shown.shown("data.orders.sum.result"),
        Some(&PluginValue::Integer(3))
    );

    service.kill();
    wait(
        &application,
        &sidecar,
        "bridge.health.shop.status",
        &json!("disconnected"),
    );
    service.start_again();
    wait(
        &application,
        &sidecar,
        "bridge.health.shop.status",
        &json!("connected"),
    );
    shown.update(&application);
    let connected = PluginValue::String("connected".to_owned());
    assert_eq!(
        shown.shown("data.bridge.health.shop.status"),
        Some(&connected)
    );
}

// A thousand entries that are put into the queue between two looks of the plugin go out, each once and in order, and the
// thread that puts them is not kept waiting.
#[test]
fn a_burst_goes_out_once_and_in_order() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let mut sidecar = Sidecar::prepare(&programs, "");
    sidecar.start();
    let listener = Client::connect(
        Settings::default()
            .publish(sidecar.publish())
            .subscribe(sidecar.subscribe()),
    )
    .expect("endpoints that can be used");
    let events = listener.subscribe(Filter::prefix("burst."));
    assert!(listener.wait_ready(LIMIT));
    let begin = Instant::now();
    let (application, _plugin) = load_with(&sidecar, &[("source", "desk")]);
    let mut slow = Vec::from([begin.elapsed()]);
    wait(
        &application,
        &sidecar,
        "bridge.health.bridge.status",
        &json!("ready"),
    );

    let entries: Vec<(String, PluginValue)> = (1..=1000)
        .map(|n| {
            let entry = json!({"n": n, "emit": {"type": format!("burst.e{n}"), "payload": n}});
            (
                format!("bridge.queue.s{n}"),
                serde_json::from_value(entry).expect("JSON is a value"),
            )
        })
        .collect();
    for (index, (path, entry)) in entries.into_iter().enumerate() {
        let begin = Instant::now();
        let _ = application.get_data("bridge.taken");
        application
            .set_data(&path, entry)
            .expect("a path that can be set");
        put(&application, "bridge.queue.last", json!(index + 1));
        slow.push(begin.elapsed());
    }

    let received: Vec<_> = (0..1000)
        .map(|_| events.recv_timeout(LIMIT).expect("an event"))
        .collect();
    assert!(
        events.recv_timeout(Duration::from_millis(100)).is_err(),
        "nothing comes twice"
    );
    let numbers: Vec<_> = received.iter().map(|event| event.payload.clone()).collect();
    assert_eq!(numbers, (1..=1000).map(Value::from).collect::<Vec<_>>());
    assert!(
        received
            .iter()
            .all(|event| event.source.as_deref() == Some("desk"))
    );
    wait(&application, &sidecar, "bridge.taken", &json!(1000));
    assert_eq!(
        at(&application, "bridge.burst"),
        Value::Null,
        "what the application says itself is not stored"
    );
    slow.retain(|took| *took > FRAME_BUDGET);
    // A busy machine takes the processor away from any thread, whatever it does. So not every call can be in time.
    assert!(slow.len() < 100, "{} of 1,000 calls: {slow:?}", slow.len());
}

// The sidecar is killed: everything behind it is lost. It comes back: so is the health, and a call that was made in
// between is answered.
#[test]
fn the_sidecar_dies_and_comes_back() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let service = Service::start(&programs);
    let mut sidecar = Sidecar::prepare(&programs, &shop(&service));
    sidecar.start();
    let (application, _plugin) = load(&sidecar);
    wait(
        &application,
        &sidecar,
        "bridge.health.shop.status",
        &json!("connected"),
    );

    sidecar.kill();
    wait(
        &application,
        &sidecar,
        "bridge.health.bridge.status",
        &json!("lost"),
    );
    wait(
        &application,
        &sidecar,
        "bridge.health.shop.status",
        &json!("lost"),
    );
    assert_eq!(
        at(&application, "bridge.health.shop.previous"),
        json!("connected")
    );
    put(
        &application,
        "bridge.call",
        json!({"integration": "shop", "method": "echo", "params": [1], "into": "echoed"}),
    );
    wait(&application, &sidecar, "echoed.pending", &json!(true));

    sidecar.start();
    wait(&application, &sidecar, "echoed.result", &json!([1]));
    wait(
        &application,
        &sidecar,
        "bridge.health.bridge.status",
        &json!("ready"),
    );
    wait(
        &application,
        &sidecar,
        "bridge.health.shop.status",
        &json!("connected"),
    );
}

// An MQTT message of bytes that are no text reaches the application, and what it sends as such an object are bytes.
#[test]
fn bytes_of_an_mqtt_message() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let Some(broker) = Broker::start() else {
        return;
    };
    let configuration = events(&broker, "codec = \"bytes\"")
        + r#"
subscription "raw" {
  integration = "events"
  topic       = "raw/#"
  emit        = "camera.frame"
}
"#;
    let mut sidecar = Sidecar::prepare(&programs, &configuration);
    sidecar.start();
    let (application, _plugin) = load(&sidecar);
    let frame = json!({"$bytes": "/wD+"});
    wait(
        &application,
        &sidecar,
        "bridge.health.events.status",
        &json!("connected"),
    );
    put(
        &application,
        "bridge.call",
        json!({"integration": "events", "operation": "publish", "payload": {"topic": "raw/1", "message": frame, "qos": 1}}),
    );
    wait(
        &application,
        &sidecar,
        "bridge.camera.frame.message",
        &frame,
    );
}

// A plugin that waits before the sidecar starts gets every fixed value, the first tick of a timer, and a retained message.
// All of them are forwarded into the application's own bus, each once.
#[test]
fn a_plugin_that_waits_for_the_sidecar() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let Some(broker) = Broker::start() else {
        return;
    };
    let mqtt = events(&broker, "");
    let mut first = Sidecar::prepare(&programs, &mqtt);
    first.start();
    let (application, _plugin) = load(&first);
    let retained =
        json!({"topic": "plant/name", "message": {"name": "north"}, "retain": true, "qos": 1});
    put(
        &application,
        "bridge.call",
        json!({"integration": "events", "operation": "publish", "payload": retained, "into": "published"}),
    );
    wait(&application, &first, "published.ok", &json!(true));
    first.kill();

    let configuration = mqtt
        + r#"
subscription "plant" {
  integration = "events"
  topic       = "plant/#"
  emit        = "start.plant"
}
integration "settings" {
  type = "static"
  config {
    values = {
      currency = "EUR"
      limits   = 20
    }
  }
}
subscription "settings" {
  integration = "settings"
  topic       = "*"
  emit        = "start.setting.${message.topic}"
}
integration "clock" {
  type = "timer"
  config {
    every       = "1h"
    immediately = true
  }
}
subscription "ticks" {
  integration = "clock"
  topic       = "default"
  emit        = "start.tick"
}
"#;
    let mut sidecar = Sidecar::prepare(&programs, &configuration);
    let (application, _plugin) = load_with(&sidecar, &[("forward", "start.**")]);
    assert_eq!(
        at(&application, "bridge.health.bridge.status"),
        json!("connecting")
    );
    sidecar.start();

    wait(
        &application,
        &sidecar,
        "bridge.start.plant.message.name",
        &json!("north"),
    );
    wait(
        &application,
        &sidecar,
        "bridge.start.setting.currency.message",
        &json!("EUR"),
    );
    wait(
        &application,
        &sidecar,
        "bridge.start.setting.limits.message",
        &json!(20),
    );
    let ticked = application.wait("a tick", LIMIT, || {
        application.get_data("bridge.start.tick").is_some()
    });
    ticked.expect("in time");
    let mut types: Vec<_> = application
        .emitted()
        .into_iter()
        .map(|(event_type, _)| event_type)
        .collect();
    types.sort();
    assert_eq!(
        types,
        [
            "start.plant",
            "start.setting.currency",
            "start.setting.limits",
            "start.tick"
        ]
    );
}

// A library that Nemo closes while it works, as when a project is loaded again, keeps working and does not end the
// process. Settings that cannot work are told in the log and where a health light looks.
#[test]
fn loaded_again_and_wrong_settings() {
    let Some(programs) = Programs::find() else {
        return;
    };
    let mut sidecar = Sidecar::prepare(&programs, "");
    let (first, plugin) = load(&sidecar);
    drop(plugin);
    let (second, plugin) = load(&sidecar);
    drop(plugin);
    sidecar.start();
    wait(
        &first,
        &sidecar,
        "bridge.health.bridge.status",
        &json!("ready"),
    );
    wait(
        &second,
        &sidecar,
        "bridge.health.bridge.status",
        &json!("ready"),
    );

    let (broken, _plugin) = load_with(&sidecar, &[("publish", "http://x"), ("lands", "x")]);
    assert_eq!(at(&broken, "bridge.health.bridge.status"), json!("failed"));
    let log = broken.log_lines();
    assert!(log[0].1.starts_with("there is no 'lands'"), "{log:?}");
    assert!(
        log[1].0 == LogLevel::Error && log[1].1.contains("http://x"),
        "{log:?}"
    );
}

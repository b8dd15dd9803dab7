//! The client beside a real sidecar.

// Skipped tests and what was measured are printed.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use nemo_bridge_client::contract::{BridgeStatus, ConnectionStatus, ErrorCode};
use nemo_bridge_client::{
    CallError, CallOptions, Client, Curve, EmitError, ErrorKind, Event, Filter, Health,
    HealthStream, LOST, PendingCall, RecvError, Settings, Subscription, bytes_from_value,
    bytes_to_value,
};
use serde_json::{Value, json};
use support::{Folder, PATIENCE, Process, Service, program, redis_server, wait_for};

fn recv(subscription: &Subscription) -> Event {
    subscription.recv_timeout(PATIENCE).unwrap()
}

/// Starts a call of a method of the service with one number.
fn start_call(client: &Client, method: &str, number: u32) -> PendingCall {
    let payload = json!({"method": method, "params": [number]});
    let options = CallOptions::default().timeout(PATIENCE);
    client
        .start_call("shop", "request", payload, options)
        .unwrap()
}

/// Waits for a state of a bridge or an integration.
fn wait_health(health: &mut HealthStream, id: &str, status: &str) -> Health {
    let until = Instant::now() + PATIENCE;
    loop {
        let state = health
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .unwrap();
        if state.id == id && state.status == status {
            return state;
        }
    }
}

// A call has its result, and each kind of error of the contract is told as that kind.
#[test]
fn every_answer() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let (folder, service) = (Folder::new(), Service::start());
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let configuration = [
        service.integration("shop", ""),
        service.integration("locked", ""),
        service.integration("narrow", "").replace(
            "circuit_breaker",
            "limit {\n max_in_flight = 1\n queue = 0\n }\n circuit_breaker",
        ),
        service.integration("open", ""),
        service
            .integration("nobody", "")
            .replace(&service.url, &format!("http://{nobody}")),
    ]
    .concat();
    let mut sidecar = Process::sidecar(&bridge, &folder, &configuration);
    let client = folder.client();
    let request = |integration: &str, method: &str| {
        let payload = json!({"method": method, "params": {"text": "ü", "big": u64::MAX, "low": i64::MIN, "list": [1.5, null]}});
        client.call(integration, "request", payload, CallOptions::default())
    };
    let kind = |result: Result<_, CallError>| match result {
        Err(CallError::Failed(failure)) => failure.error.kind,
        other => panic!("{other:?}"),
    };

    let response = request("shop", "echo").unwrap();
    assert_eq!(
        response.result,
        json!({"text": "ü", "big": u64::MAX, "low": i64::MIN, "list": [1.5, null]})
    );
    assert_eq!(
        (response.attempts, response.event.source.as_deref()),
        (1, Some("bridge"))
    );

    let Err(CallError::Failed(failure)) = request("shop", "fail") else {
        panic!()
    };
    assert_eq!(
        (&failure.error.kind, failure.error.retryable),
        (&ErrorKind::Rejected, false)
    );
    assert_eq!(
        (failure.error.code, failure.error.data),
        (Some(ErrorCode::Integer(-32001)), Some(json!({"id": 7})))
    );
    let Err(CallError::Failed(failure)) = request("shop", "busy") else {
        panic!()
    };
    assert_eq!(
        (&failure.error.kind, failure.retry_after()),
        (&ErrorKind::Throttled, Some(Duration::from_secs(7)))
    );
    for (integration, method, expected) in [
        ("shop", "slow", ErrorKind::Timeout),
        ("shop", "hang_up", ErrorKind::ConnectionLost),
        ("shop", "down", ErrorKind::Unavailable),
        ("shop", "garbage", ErrorKind::Protocol),
        ("locked", "echo", ErrorKind::Auth),
        ("nobody", "echo", ErrorKind::NotConnected),
        ("missing", "echo", ErrorKind::UnknownIntegration),
    ] {
        assert_eq!(
            kind(request(integration, method)),
            expected,
            "{integration} {method}"
        );
    }

    let call = |integration: &str, operation: &str, payload: Value| {
        client.call(integration, operation, payload, CallOptions::default())
    };
    assert_eq!(
        kind(call("shop", "fly", json!({}))),
        ErrorKind::UnknownOperation
    );
    assert_eq!(kind(call("shop", "request", json!({}))), ErrorKind::Invalid);
    assert_eq!(
        kind(call("shop", "publish", json!({"topic": "t", "message": 1}))),
        ErrorKind::NotSupported
    );
    call("open", "circuit.force_open", json!({})).unwrap();
    assert_eq!(kind(request("open", "echo")), ErrorKind::CircuitOpen);
    let short = CallOptions::default().timeout(Duration::from_millis(300));
    assert_eq!(
        kind(client.call("shop", "request", json!({"method": "slow"}), short)),
        ErrorKind::Deadline
    );
    let occupied = client
        .start_call(
            "narrow",
            "request",
            json!({"method": "slow"}),
            CallOptions::default(),
        )
        .unwrap();
    assert_eq!(kind(request("narrow", "echo")), ErrorKind::Overloaded);
    drop(occupied);

    // The bridge stops as soon as this one has ended; until then it answers what is new with `stopping`.
    let last = client
        .start_call(
            "shop",
            "request",
            json!({"method": "later"}),
            CallOptions::default(),
        )
        .unwrap();
    wait_for("the call", || (service.calls("later") == 1).then_some(()));
    sidecar.terminate();
    let stopping = wait_for("stopping", || {
        let options = CallOptions::default()
            .once()
            .timeout(Duration::from_millis(200));
        client
            .call("shop", "request", json!({"method": "echo"}), options)
            .err()
    });
    assert_eq!(stopping.kind(), Some(&ErrorKind::Stopping), "{stopping}");
    last.wait().unwrap();
    sidecar.wait();
    let error = client
        .call(
            "shop",
            "request",
            json!({}),
            CallOptions::default().timeout(Duration::from_millis(10)),
        )
        .unwrap_err();
    assert!(matches!(error, CallError::NoAnswer { .. }), "{error}");
}

// 5,000 calls at once, with the defaults of all sides, are all answered, and each ran once. 3,000 events all arrive: the
// broker keeps 4,000 for a subscriber that reads slower than they come.
#[test]
fn burst() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let (folder, service) = (Folder::new(), Service::start());
    let _sidecar = Process::sidecar(&bridge, &folder, &service.integration("shop", ""));
    let client = folder.client();
    let begun = Instant::now();
    let start = |number| start_call(&client, "echo", number);
    let pending: Vec<_> = (0..5000).map(start).collect();
    for (number, call) in pending.into_iter().enumerate() {
        assert_eq!(call.wait().unwrap().result, json!([number]));
    }
    let rate = 5000.0 / begun.elapsed().as_secs_f64();
    assert_eq!(service.calls("echo"), 5000);

    let other = folder.client();
    let events = other.subscribe(Filter::prefix("burst."));
    assert!(other.wait_ready(PATIENCE));
    for number in 0..3000 {
        client.emit("burst.event", json!(number)).unwrap();
    }
    assert!(client.clone().close(PATIENCE));
    for number in 0..3000 {
        assert_eq!(recv(&events).payload, json!(number));
    }

    let client = other;
    let begun = Instant::now();
    for number in 0..200 {
        let response = client
            .call_bridge("ping", json!(number), CallOptions::default())
            .unwrap();
        assert_eq!(response.result, json!(number));
    }
    println!(
        "calls a second: {rate:.0}; round trip: {:?}",
        begun.elapsed() / 200
    );
    assert_eq!(client.state().calls, 0);
}

// A program that waits before the sidecar starts gets its values and its health; one that comes later, too, also by the
// same client; and a bridge that dies is told as lost, and comes back.
#[test]
fn early_and_late() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let folder = Folder::new();
    let configuration = "integration \"settings\" {\n type = \"static\"\n config {\n values = {\n limit = 20\n }\n }\n}\n\
                         subscription \"limits\" {\n integration = \"settings\"\n topic = \"limit\"\n emit = \"data.limit\"\n}\n";
    let early = Client::connect(folder.settings()).unwrap();
    let mut health = early.health();
    let values = early.subscribe(Filter::parse("data.*").unwrap());
    assert_eq!(health.recv_timeout(PATIENCE).unwrap().status, LOST);
    assert!(!early.wait_ready(Duration::ZERO));

    let mut sidecar = Process::sidecar(&bridge, &folder, configuration);
    assert_eq!(recv(&values).payload["message"], json!(20));
    wait_health(&mut health, "bridge", "ready");
    let settings = wait_health(&mut early.health(), "settings", "connected");
    assert_eq!(
        settings.integration().unwrap().status,
        ConnectionStatus::Connected
    );
    assert_eq!(settings.bridge(), None);
    assert_eq!(
        recv(&early.subscribe(Filter::parse("data.*").unwrap())).payload["message"],
        json!(20)
    );
    let late = folder.client();
    assert_eq!(
        recv(&late.subscribe(Filter::exact("data.limit").unwrap())).payload["message"],
        json!(20)
    );
    assert_eq!(
        wait_health(&mut late.health(), "bridge", "ready")
            .source
            .as_deref(),
        Some("bridge")
    );

    let state = wait_health(&mut late.health(), "bridge", "ready");
    assert_eq!(state.bridge().unwrap().status, BridgeStatus::Ready);
    assert_eq!(state.integration(), None);

    sidecar.kill();
    let state = wait_health(&mut health, "bridge", LOST);
    assert_eq!((state.source, state.payload), (None, Value::Null));
    let _sidecar = Process::sidecar(&bridge, &folder, configuration);
    wait_health(&mut health, "bridge", "ready");
    assert!(early.close(PATIENCE));
    assert_eq!(
        wait_for("the end", || health
            .try_recv()
            .err()
            .filter(|error| *error != RecvError::Empty)),
        RecvError::Closed
    );
}

// A bridge without a heartbeat is told as lost, although the bus is there.
#[test]
fn silence() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let folder = Folder::new();
    let _sidecar = Process::sidecar(&bridge, &folder, "");
    let client = Client::connect(folder.settings().silence(Duration::from_millis(500))).unwrap();
    let mut health = client.health();
    wait_health(&mut health, "bridge", "ready");
    let state = wait_health(&mut health, "bridge", LOST);
    assert_eq!(state.source.as_deref(), Some("bridge"));
    assert!(state.error.unwrap().contains("no sign of life"));
    wait_health(&mut health, "bridge", "ready");
}

// Calls that are in flight when the sidecar is killed are answered by the one after it.
#[test]
fn killed_and_back() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let (folder, service) = (Folder::new(), Service::start());
    let mut sidecar = Process::sidecar(&bridge, &folder, &service.integration("shop", ""));
    let client = folder.client();
    let start = |number| start_call(&client, "soon", number);
    let mut pending: Vec<_> = (0..20).map(start).collect();
    wait_for("the calls", || (service.calls("soon") >= 10).then_some(()));
    sidecar.kill();
    wait_for("the loss", || {
        (!client.state().publish.connected).then_some(())
    });
    pending.extend((20..40).map(start));
    let _sidecar = Process::sidecar(&bridge, &folder, &service.integration("shop", ""));
    for (number, call) in pending.into_iter().enumerate() {
        assert_eq!(call.wait().unwrap().result, json!([number]));
    }
}

// A closed bus admits a listed key within its rights; every other one is told why it is not.
#[test]
fn closed_bus() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let (folder, service) = (Folder::new(), Service::start());
    let keys = |arguments: &[&str]| {
        let status = Command::new(&bridge)
            .arg("keys")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    };
    for name in ["bridge", "till", "stranger"] {
        keys(&["new", name]);
    }
    keys(&[
        "authorize",
        "keys/till.key",
        "--publish",
        "integration.**",
        "--publish",
        "order.**",
        "--subscribe",
        "response.**",
        "--subscribe",
        "order.**",
    ]);
    let path = folder.path().display();
    let text = format!(
        "bus {{\n publish = \"ipc://{path}/p\"\n subscribe = \"ipc://{path}/s\"\n curve {{\n secret_key = \"keys/bridge.key_secret\"\n \
         authorized_keys = \"keys/authorized\"\n }}\n}}\n{}",
        service.integration("shop", "")
    );
    let _sidecar = Process::sidecar_of(&bridge, &folder, &text);
    let curve = |own: &str, server: &str| {
        let keys = folder.path().join("keys");
        Curve::read(
            keys.join(format!("{own}.key_secret")),
            keys.join(format!("{server}.key")),
        )
        .unwrap()
    };

    let client = Client::connect(folder.settings().curve(curve("till", "bridge"))).unwrap();
    assert!(client.wait_ready(PATIENCE), "{:?}", client.state());
    let orders = client.subscribe(Filter::prefix("order."));
    assert!(client.wait_ready(PATIENCE));
    let large = "x".repeat(200_000);
    for number in 0..200 {
        client
            .emit(
                "order.created",
                json!([number, if number == 100 { large.as_str() } else { "" }]),
            )
            .unwrap();
    }
    for number in 0..200 {
        assert_eq!(recv(&orders).payload[0], json!(number));
    }
    let payload = json!({"method": "echo", "params": [large]});
    assert_eq!(
        client
            .call("shop", "request", payload, CallOptions::default())
            .unwrap()
            .result,
        json!([large])
    );

    for (settings, why) in [
        (
            folder.settings().curve(curve("stranger", "bridge")),
            "our key is not listed",
        ),
        (
            folder.settings().curve(curve("till", "stranger")),
            "is this the bus' server key?",
        ),
        (
            folder.settings(),
            "one side has CURVE keys, and the other has not",
        ),
    ] {
        let client = Client::connect(settings).unwrap();
        wait_for(why, || {
            client
                .state()
                .subscribe
                .trouble
                .filter(|trouble| trouble.contains(why))
        });
        let options = CallOptions::default().timeout(Duration::ZERO);
        let error = client
            .call("shop", "request", json!({"method": "echo"}), options)
            .unwrap_err();
        assert!(
            error.to_string().contains("no connection to the bus"),
            "{error}"
        );
    }
}

// What one client emits another one receives, numbered; each gets the answers to its own calls; nothing that was read
// from the bus, or is the bridge's, goes back there.
#[test]
fn two_clients() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let folder = Folder::new();
    let _sidecar = Process::sidecar(&bridge, &folder, "");
    let first = Client::connect(folder.settings().source("first")).unwrap();
    let second = folder.client();
    let all = second.subscribe(Filter::any([
        Filter::parse("a.**").unwrap(),
        Filter::source("somebody"),
    ]));
    assert!(second.wait_ready(PATIENCE) && first.wait_ready(PATIENCE));
    first.emit("a.one", json!(1)).unwrap();
    first.emit("b.not_wanted", json!(2)).unwrap();
    first
        .emit_event(
            Event::new("b.two", json!(3))
                .with_source("somebody")
                .with_id(17)
                .with_header("x", "y"),
        )
        .unwrap();
    first.emit("a", json!(4)).unwrap();
    let events = [recv(&all), recv(&all), recv(&all)];
    assert_eq!(
        events.each_ref().map(|event| event.payload.clone()),
        [json!(1), json!(3), json!(4)]
    );
    assert_eq!(events[1].id, 17);
    assert_eq!(events[1].headers.get("seq").map(String::as_str), Some("1"));
    assert_eq!(events[1].headers.get("x").map(String::as_str), Some("y"));
    let numbers =
        [&events[0], &events[2]].map(|event| event.headers["seq"].parse::<u64>().unwrap());
    assert_eq!(
        numbers[1] - numbers[0],
        2,
        "what is not selected has its number, too"
    );

    assert_eq!(
        second.emit_event(events[0].clone()),
        Err(EmitError::FromBus)
    );
    for source in ["bridge", "bridge/other"] {
        let forged = Event::new("a", json!(1)).with_source(source);
        assert_eq!(
            second.emit_event(forged),
            Err(EmitError::FromBridge(source.to_owned()))
        );
    }
    let next = Event::new("a.next", json!(5)).caused_by(&events[0]);
    second.emit_event(next).unwrap();
    assert_eq!(recv(&all).payload, json!(5));

    let calls: Vec<_> = (0..50)
        .flat_map(|number| {
            [&first, &second].map(|client| {
                client.start_command("bridge.ping", json!(number), CallOptions::default())
            })
        })
        .collect();
    for (place, call) in calls.into_iter().enumerate() {
        assert_eq!(call.unwrap().wait().unwrap().result, json!(place / 2));
    }
    drop(all);
    assert!(first.close(PATIENCE));
    assert!(matches!(
        second.emit("a", json!("x".repeat(2 << 20))),
        Err(EmitError::Invalid(_))
    ));
}

// A callback gets the answer, and its panic harms nobody.
#[test]
fn callbacks() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let folder = Folder::new();
    let _sidecar = Process::sidecar(&bridge, &folder, "");
    let client = folder.client();
    client
        .call_then(
            "missing",
            "request",
            json!({"method": "x"}),
            CallOptions::default(),
            |_| panic!("on purpose"),
        )
        .unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    client
        .call_then(
            "missing",
            "request",
            json!({"method": "x"}),
            CallOptions::default(),
            move |result| send.send(result).unwrap(),
        )
        .unwrap();
    let error = receive.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!(error.kind(), Some(&ErrorKind::UnknownIntegration));
}

/// Publishes once somebody subscribes: both shapes of an event, bytes, and messages that are no events.
const OTHER_PROGRAM: &str = r#"
import sys, msgpack, zmq
out = zmq.Context.instance().socket(zmq.XPUB)
out.connect(sys.argv[1])
while b"wild" not in out.recv():
    pass
body = {"id": 1, "event_type": "wild.map", "payload": {"raw": b"\xff\x00"}, "timestamp": 5, "source": None,
        "correlation_id": None, "more": [1, 2]}
def send(*frames):
    out.send_multipart(frames)
send(b"wild.map", msgpack.packb(body))
send(b"wild.array", msgpack.packb([2, "wild.array", [b"\x01", {"n": -3}], 6, "nemo", "c"]))
send(b"wild")
send(b"wild", b"", b"")
send(b"wild", b"")
send(b"wild", b"\xc1")
send(b"wild", b"\xdd\xff\xff\xff\xff")
send(b"wild.other", msgpack.packb(body))
send(b"wild", b"\x91" * 100_000)
send(b"wild", b"x" * 3_000_000)
send(b"wild.array", msgpack.packb([3, "wild.array", "last", 6, None, None]))
out.close(linger=5000)
zmq.Context.instance().term()
"#;

// Events of another program come in both shapes, with their bytes; what is no event is counted and told, and what follows
// it comes.
#[test]
fn other_programs() {
    let (Some(bridge), Some(python)) = (program("nemo-bridge"), program("python")) else {
        return;
    };
    let folder = Folder::new();
    let _sidecar = Process::sidecar(&bridge, &folder, "");
    let (send, notices) = std::sync::mpsc::channel();
    let settings = folder
        .settings()
        .on_notice(move |notice| drop(send.send(notice.to_string())));
    let client = Client::connect(settings).unwrap();
    let wild = client.subscribe(Filter::prefix("wild"));
    let endpoint = format!("ipc://{}", folder.path().join("p").display());
    let mut other = Command::new(python);
    let _other = Process::start(
        other.args(["-c", OTHER_PROGRAM, &endpoint]),
        &folder.path().join("other.log"),
    );

    let map = recv(&wild);
    assert_eq!(
        (map.event_type.as_str(), map.id, map.timestamp),
        ("wild.map", 1, 5)
    );
    assert_eq!(
        bytes_from_value(&map.payload["raw"]),
        Some(vec![0xff, 0x00])
    );
    let array = recv(&wild);
    assert_eq!(
        (array.source.as_deref(), array.correlation_id.as_deref()),
        (Some("nemo"), Some("c"))
    );
    assert_eq!(array.payload, json!([bytes_to_value(&[1]), {"n": -3}]));
    assert_eq!(recv(&wild).payload, json!("last"));
    assert_eq!(client.state().rejected, 8);
    wait_for("the notice", || {
        notices
            .try_iter()
            .find(|notice| notice.contains("were no events"))
    });
}

// A Redis message of bytes that are no text reaches a JSON value.
#[test]
fn bytes_from_outside() {
    let (Some(bridge), Some(redis)) = (program("nemo-bridge"), redis_server()) else {
        return;
    };
    let folder = Folder::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut server = Command::new(redis);
    server
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
        ])
        .arg(folder.path());
    let _server = Process::start(&mut server, &folder.path().join("redis.log"));
    let mut connection = wait_for("the server", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let configuration = format!(
        "integration \"store\" {{\n type = \"redis\"\n endpoint {{\n url = \"redis://127.0.0.1:{port}/0\"\n }}\n config {{\n codec = \"bytes\"\n }}\n}}\n\
         subscription \"raw\" {{\n integration = \"store\"\n topic = \"raw\"\n emit = \"data.raw\"\n}}\n"
    );
    let client = Client::connect(folder.settings()).unwrap();
    let raw = client.subscribe(Filter::exact("data.raw").unwrap());
    let _sidecar = Process::sidecar(&bridge, &folder, &configuration);
    let event = wait_for("the message", || {
        connection
            .write_all(b"*3\r\n$7\r\nPUBLISH\r\n$3\r\nraw\r\n$3\r\n\xff\x00\xfe\r\n")
            .unwrap();
        connection.read_exact(&mut [0; 4]).unwrap();
        raw.recv_timeout(Duration::from_millis(100)).ok()
    });
    assert_eq!(
        bytes_from_value(&event.payload["message"]),
        Some(vec![0xff, 0x00, 0xfe])
    );

    // In the other direction `$bytes` means bytes, too: they come back as they were sent.
    while raw.recv_timeout(Duration::from_millis(200)).is_ok() {}
    let payload = json!({"topic": "raw", "message": bytes_to_value(&[0x80, 0x81])});
    client
        .call("store", "publish", payload, CallOptions::default())
        .unwrap();
    assert_eq!(
        bytes_from_value(&recv(&raw).payload["message"]),
        Some(vec![0x80, 0x81])
    );
}

// Each of thousands of subscriptions is known to the broker, also after it was restarted.
#[test]
fn many_subscriptions() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let folder = Folder::new();
    let mut sidecar = Process::sidecar(&bridge, &folder, "");
    let client = folder.client();
    let all =
        Filter::any((0..20_000).map(|number| Filter::exact(&format!("many.n{number}")).unwrap()));
    let subscription = client.subscribe(all);
    for restart in [false, true] {
        if restart {
            sidecar.kill();
            wait_for("the loss", || (!client.state().ready).then_some(()));
            sidecar = Process::sidecar(&bridge, &folder, "");
        }
        assert!(client.wait_ready(PATIENCE));
        let expected: BTreeSet<String> = (0..20)
            .map(|number| format!("many.n{}", number * 999))
            .collect();
        for event_type in &expected {
            client.emit(event_type, Value::Null).unwrap();
        }
        let found: BTreeSet<String> = expected
            .iter()
            .map(|_| recv(&subscription).event_type)
            .collect();
        assert_eq!(found, expected);
    }
}

// Endpoints that are exchanged, and something that is no bus, are told.
#[test]
fn wrong_endpoints() {
    let Some(bridge) = program("nemo-bridge") else {
        return;
    };
    let folder = Folder::new();
    let _sidecar = Process::sidecar(&bridge, &folder, "");
    drop(folder.client());
    let endpoint = |name: &str| format!("ipc://{}", folder.path().join(name).display());
    let exchanged = Client::connect(
        Settings::default()
            .publish(endpoint("s"))
            .subscribe(endpoint("p")),
    )
    .unwrap();
    wait_for("the reason", || {
        exchanged
            .state()
            .publish
            .trouble
            .filter(|why| why.contains("exchanged"))
    });
    let service = Service::start();
    let web = service.url.replace("http:", "tcp:");
    let settings = Settings::default().publish(web).subscribe(endpoint("s"));
    let client = Client::connect(settings).unwrap();
    wait_for("the reason", || client.state().publish.trouble);
    let nobody = Client::connect(
        Settings::default()
            .publish(endpoint("x"))
            .subscribe(endpoint("s")),
    )
    .unwrap();
    wait_for("the reason", || {
        nobody
            .state()
            .publish
            .trouble
            .filter(|why| why.contains("nobody hosts a bus"))
    });
}

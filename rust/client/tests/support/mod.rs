//! A sidecar as a process of its own, and the service that it calls.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nemo_bridge_client::{Client, Settings};
use serde_json::{Value, json};

/// How long a test waits for what has to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a program beside the sidecar's, or `None`, with a message, where the sidecar is not installed. In CI it must
/// be.
pub fn program(name: &str) -> Option<PathBuf> {
    let sidecar = env::var_os("NEMO_BRIDGE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/nemo-bridge"),
        PathBuf::from,
    );
    let found = sidecar.with_file_name(name);
    if sidecar.exists() && found.exists() {
        return Some(found);
    }
    assert!(
        env::var_os("CI").is_none(),
        "there is no {}",
        found.display()
    );
    eprintln!(
        "SKIPPED: there is no {}; make the project's environment, or set NEMO_BRIDGE",
        found.display()
    );
    None
}

/// Returns the Redis server, or `None`, with a message, where there is none. In CI there must be one.
pub fn redis_server() -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders)
        .map(|folder| folder.join("redis-server"))
        .find(|path| path.exists());
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "there is no redis-server");
        eprintln!("SKIPPED: there is no redis-server");
    }
    found
}

/// A new folder, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "nbc-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The endpoints of the bus in this folder.
    pub fn settings(&self) -> Settings {
        let endpoint = |name: &str| format!("ipc://{}", self.0.join(name).display());
        Settings::default()
            .publish(endpoint("p"))
            .subscribe(endpoint("s"))
    }

    /// A client of the bus in this folder, which works.
    pub fn client(&self) -> Client {
        let client = Client::connect(self.settings()).unwrap();
        if !client.wait_ready(PATIENCE) {
            let log = fs::read_to_string(self.0.join("bridge.log")).unwrap_or_default();
            panic!("{:?}; the sidecar's log: {log}", client.state());
        }
        client
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed at the end.
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command, log: &Path) -> Process {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let command = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Process(command.spawn().unwrap())
    }

    /// Starts `nemo-bridge run` with this configuration; the `bus` block is added.
    pub fn sidecar(program: &Path, folder: &Folder, configuration: &str) -> Process {
        let path = folder.path();
        let text = format!(
            "bus {{\n publish = \"ipc://{0}/p\"\n subscribe = \"ipc://{0}/s\"\n}}\n{configuration}",
            path.display()
        );
        Process::sidecar_of(program, folder, &text)
    }

    /// Starts `nemo-bridge run` with the whole text of a configuration.
    pub fn sidecar_of(program: &Path, folder: &Folder, text: &str) -> Process {
        let path = folder.path();
        // Its status page would have the same port as everybody else's.
        let text = format!("bridge {{\n status = null\n}}\n{text}");
        fs::write(path.join("bridge.hcl"), text).unwrap();
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("bridge.hcl")
            .current_dir(path)
            .env("XDG_STATE_HOME", path);
        Process::start(&mut command, &path.join("bridge.log"))
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) {
        self.0.wait().unwrap();
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let id = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} has not happened");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A JSON-RPC service over HTTP; the method tells how it answers. It counts the calls of each method.
pub struct Service {
    pub url: String,
    calls: Arc<Mutex<HashMap<String, u32>>>,
}

impl Service {
    pub fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::<Mutex<HashMap<String, u32>>>::default();
        let counted = Arc::clone(&calls);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counted = Arc::clone(&counted);
                thread::spawn(move || while serve(&stream, &counted).is_some() {});
            }
        });
        Service { url, calls }
    }

    /// How often a method was called.
    pub fn calls(&self, method: &str) -> u32 {
        self.calls
            .lock()
            .unwrap()
            .get(method)
            .copied()
            .unwrap_or_default()
    }

    /// An `integration` block with short times and without retries.
    pub fn integration(&self, name: &str, more: &str) -> String {
        format!(
            "integration \"{name}\" {{\n type = \"json-rpc\"\n endpoint {{\n url = \"{}/{name}\"\n }}\n {more}\n \
             resilience {{\n timeout = \"2s\"\n retry {{\n max_attempts = 1\n }}\n circuit_breaker {{\n \
             failure_threshold = 1000\n }}\n }}\n}}\n",
            self.url
        )
    }
}

/// Answers one request; `None` where the connection ends.
fn serve(stream: &TcpStream, counted: &Mutex<HashMap<String, u32>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut path) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if path.is_empty() {
            path = line.split(' ').nth(1)?.to_owned();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = request["method"].as_str().unwrap_or_default();
    *counted.lock().ok()?.entry(method.to_owned()).or_default() += 1;
    let result =
        |value: Value| json!({"jsonrpc": "2.0", "id": request["id"], "result": value}).to_string();
    let (status, answer) = match method {
        _ if path == "/locked" => ("401 Unauthorized", String::new()),
        "slow" => {
            thread::sleep(Duration::from_secs(60));
            return None;
        }
        "soon" | "later" => {
            thread::sleep(Duration::from_millis(if method == "soon" {
                500
            } else {
                1500
            }));
            ("200 OK", result(request["params"].clone()))
        }
        "hang_up" => return None,
        "busy" => ("429 Too Many Requests\r\nRetry-After: 7", String::new()),
        "down" => ("503 Service Unavailable", String::new()),
        "garbage" => ("200 OK", "{".to_owned()),
        "fail" => {
            let error = json!({"code": -32001, "message": "no such order", "data": {"id": 7}});
            (
                "200 OK",
                json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string(),
            )
        }
        _ => ("200 OK", result(request["params"].clone())),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    let mut stream = stream;
    stream.write_all((head + &answer).as_bytes()).ok()
}

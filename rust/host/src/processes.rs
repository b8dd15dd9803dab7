//! Starts the processes that a plugin works with: the sidecar of this project, and its JSON-RPC service for tests.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the programs of this project are.
#[derive(Debug, Clone)]
pub struct Programs {
    sidecar: PathBuf,
    python: PathBuf,
}

impl Programs {
    /// Find them: `NEMO_BRIDGE` in the environment names the sidecar, else it is in the project's `.venv`.
    ///
    /// Returns `None`, and says so, where they are not installed.
    ///
    /// # Panics
    ///
    /// They are not there, but `CI` is `true`: a skipped test would go unnoticed there.
    pub fn find() -> Option<Self> {
        let sidecar = std::env::var_os("NEMO_BRIDGE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/nemo-bridge"),
            PathBuf::from,
        );
        if sidecar.exists() {
            let python = sidecar.with_file_name("python");
            return Some(Self { sidecar, python });
        }
        let message = format!("no sidecar at {}; set NEMO_BRIDGE", sidecar.display());
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
        #[allow(clippy::print_stderr)] // a test has no other way to say that it was skipped
        {
            eprintln!("SKIPPED: {message}");
        }
        None
    }
}

/// Hold a process; it is killed when this is dropped.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::null())
                .spawn()
                .expect("the program starts"),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hold a folder for one test; it is removed when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Default for Folder {
    fn default() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // The path of a socket has some hundred bytes at most, so the name is short.
        let path = std::env::temp_dir().join(format!("nbh{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }
}

impl Folder {
    /// Return the folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Run the JSON-RPC service of the project's demo.
#[derive(Debug)]
pub struct Service {
    process: Option<Process>,
    programs: Programs,
    /// Its address.
    pub url: String,
}

impl Service {
    /// Start it on a free port.
    pub fn start(programs: &Programs) -> Self {
        let mut service = Self {
            process: None,
            programs: programs.clone(),
            url: "http://127.0.0.1:0/rpc".to_owned(),
        };
        service.start_again();
        service
    }

    /// Kill it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Start it again at the same address.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub fn start_again(&mut self) {
        let port = self
            .url
            .trim_end_matches("/rpc")
            .rsplit(':')
            .next()
            .unwrap_or("0")
            .to_owned();
        let mut command = Command::new(&self.programs.python);
        command
            .args(["-m", "bridge.cli.demo_service", "--port", &port])
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        let mut line = String::new();
        let output = process.0.stdout.take().expect("it was asked for above");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("the service writes its address");
        line.trim().clone_into(&mut self.url);
        assert!(
            self.url.starts_with("http://"),
            "the service does not start"
        );
        self.process = Some(process);
    }
}

/// Run the sidecar with a bus of its own.
#[derive(Debug)]
pub struct Sidecar {
    process: Option<Process>,
    programs: Programs,
    folder: Folder,
}

impl Sidecar {
    /// Prepare a sidecar without starting it.
    ///
    /// # Arguments
    ///
    /// * `configuration`: HCL without a `bus` block.
    ///
    /// # Panics
    ///
    /// The file cannot be written.
    pub fn prepare(programs: &Programs, configuration: &str) -> Self {
        let sidecar = Self {
            process: None,
            programs: programs.clone(),
            folder: Folder::default(),
        };
        let bus = format!(
            "bridge {{\n  heartbeat = \"500ms\"\n  status    = null\n}}\nbus {{\n  publish   = \"{}\"\n  subscribe = \"{}\"\n}}\n",
            sidecar.publish(),
            sidecar.subscribe()
        );
        std::fs::write(sidecar.configuration(), bus + configuration)
            .expect("a file can be written");
        sidecar
    }

    /// Return the endpoint for publishers.
    pub fn publish(&self) -> String {
        format!("ipc://{}", self.folder.path().join("p").display())
    }

    /// Return the endpoint for subscribers.
    pub fn subscribe(&self) -> String {
        format!("ipc://{}", self.folder.path().join("s").display())
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("bridge.hcl")
    }

    /// Start it; its log goes to a file.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub fn start(&mut self) {
        let log =
            std::fs::File::create(self.folder.path().join("log")).expect("a file can be written");
        let mut command = Command::new(&self.programs.sidecar);
        command
            .arg("run")
            .arg(self.configuration())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        self.process = Some(Process::start(&mut command));
    }

    /// Kill it, so that it can say nothing any more.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Return what it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Run an MQTT broker.
#[derive(Debug)]
pub struct Broker {
    _process: Process,
    _folder: Folder,
    /// Its port on the loopback address.
    pub port: u16,
}

impl Broker {
    /// Start mosquitto on a free port. Returns `None`, and says so, where it is not installed.
    ///
    /// # Panics
    ///
    /// It is not there, but `CI` is `true`.
    pub fn start() -> Option<Self> {
        let folder = Folder::default();
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(
            &file,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\n"),
        )
        .expect("a file can be written");
        let program = [
            "/usr/sbin/mosquitto",
            "/usr/local/sbin/mosquitto",
            "/opt/homebrew/sbin/mosquitto",
        ]
        .into_iter()
        .find(|path| Path::new(path).exists());
        let Some(program) = program else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "mosquitto is not installed"
            );
            #[allow(clippy::print_stderr)] // a test has no other way to say that it was skipped
            {
                eprintln!("SKIPPED: mosquitto is not installed");
            }
            return None;
        };
        let process = Process::start(
            Command::new(program)
                .arg("-c")
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        Some(Self {
            _process: process,
            _folder: folder,
            port,
        })
    }
}

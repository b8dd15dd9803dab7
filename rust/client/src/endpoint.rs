//! Endpoints of the bus: the default ones, and the check of given ones. The rules are the sidecar's own.

use std::env;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::errors::SetupError;

/// Loopback ports where there are no `ipc` sockets.
const DEFAULT_PORTS: (u16, u16) = (48621, 48622);
/// Bytes of `sun_path` without the NUL at its end (unix(7); the BSDs have four bytes less).
const MOST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A checked endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Ipc(PathBuf),
    Tcp { host: String, port: u16 },
}

impl fmt::Display for Address {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ipc(path) => write!(text, "ipc://{}", path.display()),
            Address::Tcp { host, port } if host.contains(':') => {
                write!(text, "tcp://[{host}]:{port}")
            }
            Address::Tcp { host, port } => write!(text, "tcp://{host}:{port}"),
        }
    }
}

/// Returns the default endpoints: for publishers, and for subscribers.
pub(crate) fn defaults() -> (String, String) {
    if cfg!(unix) {
        let folder = runtime_folder();
        let socket = |name: &str| format!("ipc://{}", folder.join(name).display());
        (socket("bus-publish.sock"), socket("bus-subscribe.sock"))
    } else {
        (
            format!("tcp://127.0.0.1:{}", DEFAULT_PORTS.0),
            format!("tcp://127.0.0.1:{}", DEFAULT_PORTS.1),
        )
    }
}

/// Returns the folder of the default sockets: `$XDG_RUNTIME_DIR/nemo`, else where Python's platformdirs puts it.
fn runtime_folder() -> PathBuf {
    if let Some(base) = env::var_os("XDG_RUNTIME_DIR").filter(|base| !base.is_empty()) {
        return Path::new(&base).join("nemo");
    }
    if cfg!(target_os = "macos") {
        let home = env::var_os("HOME").unwrap_or_default();
        return Path::new(&home).join("Library/Caches/TemporaryItems/nemo");
    }
    let user = user_id().unwrap_or_default();
    let usual = PathBuf::from(if cfg!(target_os = "linux") {
        "/run/user"
    } else {
        "/var/run/user"
    })
    .join(user.to_string());
    let base = if is_private_folder(&usual, user) {
        usual
    } else {
        env::temp_dir().join(format!("runtime-{user}"))
    };
    base.join("nemo")
}

/// Returns the user that this process runs as. Only Linux tells it without a call into C.
#[cfg(unix)]
pub(crate) fn user_id() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let home = env::var_os("HOME").map(PathBuf::from);
    let process = std::fs::metadata("/proc/self").ok();
    process
        .or_else(|| std::fs::metadata(home?).ok())
        .map(|found| found.uid())
}

#[cfg(not(unix))]
pub(crate) fn user_id() -> Option<u32> {
    None
}

#[cfg(unix)]
fn is_private_folder(path: &Path, user: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_dir() && found.uid() == user && found.mode() & 0o777 == 0o700)
}

#[cfg(not(unix))]
fn is_private_folder(_: &Path, _: u32) -> bool {
    false
}

/// Checks one endpoint to connect to.
///
/// `closed` tells whether the bus has CURVE keys: TCP beyond loopback needs them.
pub(crate) fn parse(text: &str, closed: bool) -> Result<Address, SetupError> {
    let fault = |why: &str| SetupError::new(format!("bus endpoint {text:?}: {why}"));
    if let Some(path) = text.strip_prefix("ipc://") {
        if !cfg!(unix) {
            return Err(fault(
                "this system has no ipc sockets, use tcp://127.0.0.1:port",
            ));
        }
        if !path.starts_with('/') {
            return Err(fault(
                "an ipc endpoint needs an absolute path, as in ipc:///run/user/1000/x",
            ));
        }
        if path.contains('\0') {
            return Err(fault("a path holds no NUL"));
        }
        if path.len() > MOST_PATH {
            let size = path.len();
            return Err(fault(&format!(
                "the path has {size} bytes, a socket's has {MOST_PATH} at most"
            )));
        }
        return Ok(Address::Ipc(PathBuf::from(path)));
    }
    let Some(rest) = text.strip_prefix("tcp://") else {
        return Err(fault("write ipc:///path/to/socket or tcp://127.0.0.1:port"));
    };
    let (host, port) = rest
        .rsplit_once(':')
        .ok_or_else(|| fault("write tcp://127.0.0.1:port"))?;
    if host == "*" || host == "0.0.0.0" || host == "[::]" || port == "*" || port == "0" {
        return Err(fault("nobody can connect to that; name address and port"));
    }
    let port = port
        .parse()
        .map_err(|_| fault("write tcp://127.0.0.1:port"))?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() || host.contains(['/', '?', '#', '@', '[', ']', ' ']) {
        return Err(fault("write tcp://127.0.0.1:port"));
    }
    let named = is_local_name(host);
    let local = named
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
    if !closed && !local {
        return Err(fault(
            "TCP beyond loopback needs CURVE keys; without them, use ipc or 127.0.0.1",
        ));
    }
    Ok(Address::Tcp {
        host: if named {
            "127.0.0.1".to_owned()
        } else {
            host.to_owned()
        },
        port,
    })
}

/// Tells whether a name means this machine (RFC 6761, 6.3).
fn is_local_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    // What can be connected to is accepted, and printed as ZeroMQ writes it.
    #[test]
    fn accepted() {
        for (text, closed, printed) in [
            ("tcp://127.0.0.1:5555", false, "tcp://127.0.0.1:5555"),
            ("tcp://localhost:5555", false, "tcp://127.0.0.1:5555"),
            ("tcp://[::1]:5555", false, "tcp://[::1]:5555"),
            (
                "tcp://bus.example.com:5555",
                true,
                "tcp://bus.example.com:5555",
            ),
        ] {
            assert_eq!(parse(text, closed).unwrap().to_string(), printed);
        }
    }

    // What cannot work is refused with the reason.
    #[test]
    fn refused() {
        for (text, why) in [
            ("udp://x", "write ipc"),
            ("tcp://127.0.0.1", "write tcp"),
            ("tcp://127.0.0.1:x", "write tcp"),
            ("tcp://*:5555", "name address"),
            ("tcp://127.0.0.1:*", "name address"),
            ("tcp://10.0.0.1:5555", "CURVE"),
            ("tcp://a/b:5555", "write tcp"),
            ("tcp://127.0.0.1:70000", "write tcp"),
        ] {
            assert!(
                parse(text, false).unwrap_err().to_string().contains(why),
                "{text}"
            );
        }
    }

    // Paths of sockets are absolute and short enough for the system.
    #[test]
    #[cfg(unix)]
    fn paths() {
        assert_eq!(
            parse("ipc:///run/x.sock", false).unwrap(),
            Address::Ipc("/run/x.sock".into())
        );
        for (path, why) in [
            ("x", "absolute"),
            ("@x", "absolute"),
            (&format!("/{}", "x".repeat(200)), "bytes"),
        ] {
            assert!(
                parse(&format!("ipc://{path}"), false)
                    .unwrap_err()
                    .to_string()
                    .contains(why)
            );
        }
    }
}

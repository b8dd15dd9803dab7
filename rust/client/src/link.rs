//! One connection to the bus: made, used, lost and made again, for as long as the client lives.
//!
//! A thread connects and reads; while there is a connection, a second one writes. The sockets are blocking: on a
//! connection with a few thousand messages a second, this needs the least code and no runtime.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Shared;
use crate::endpoint::Address;
use crate::lane::{Lane, Outgoing};
use crate::notice::Notice;
use crate::zmtp::{
    Encoder, HandshakeError, ProtocolError, Reader, Received, Role, Session, handshake,
};

/// How long connecting and the handshake may take, each.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait before the second try, and the longest one; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Only a connection that lasted as long forgets the failures before it.
const LASTED: Duration = Duration::from_secs(10);
/// After as long without a byte from the other side it is asked for one (PING); after so many times, it is dead.
const QUIET: Duration = Duration::from_secs(5);
const MOST_QUIET: u32 = 3;
const READ_SIZE: usize = 64 << 10;

/// Keeps one connection until the client ends.
pub(crate) fn keep(shared: &Arc<Shared>, role: Role) {
    let lane = shared.lane(role);
    let address = shared.address(role);
    let mut failures = 0_u32;
    let mut told = None;
    while !lane.is_stopping() {
        let begun = Instant::now();
        let why = match connect(address)
            .and_then(|mut stream| Ok((begin(shared, role, &mut stream)?, stream)))
        {
            Ok((session, stream)) => {
                told = None;
                shared.notice(&Notice::Connected {
                    endpoint: address.to_string(),
                });
                serve(shared, role, session, stream)
            }
            Err(error) => error.to_string(),
        };
        if lane.is_stopping() {
            return;
        }
        shared.link_down(role, &why);
        if told.as_ref() != Some(&why) {
            shared.notice(&Notice::Disconnected {
                endpoint: address.to_string(),
                why: why.clone(),
            });
            told = Some(why);
        }
        failures = if begun.elapsed() > LASTED {
            0
        } else {
            failures.saturating_add(1)
        };
        let wait = FIRST_WAIT
            .saturating_mul(1 << failures.saturating_sub(1).min(10))
            .min(LONGEST_WAIT);
        lane.pause(Instant::now() + wait);
    }
}

/// Performs the handshake, within a time limit for all of it.
fn begin(shared: &Shared, role: Role, stream: &mut Stream) -> Result<Session, HandshakeError> {
    let mut limited = Limited {
        stream,
        until: Instant::now() + PATIENCE,
    };
    let session =
        handshake(&mut limited, role, shared.curve(), shared.max_message()).map_err(|error| {
            match error {
                HandshakeError::Io(error)
                    if error.kind() == io::ErrorKind::UnexpectedEof && shared.curve().is_some() =>
                {
                    HandshakeError::Refused(
                        "the connection was closed in the handshake; is this the bus' server key?"
                            .to_owned(),
                    )
                }
                other => other,
            }
        })?;
    stream.set_timeouts(Some(QUIET), None)?;
    Ok(session)
}

/// Uses a connection until it ends, and returns why it did.
fn serve(shared: &Arc<Shared>, role: Role, session: Session, mut stream: Stream) -> String {
    let Session {
        encoder,
        mut reader,
        pings,
    } = session;
    let Ok(writing) = stream.try_clone() else {
        return "the system has no descriptor left".to_owned();
    };
    // Before the writer, which ends where no connection is open.
    shared.link_up(role);
    let writer = {
        let shared = Arc::clone(shared);
        let name = "nemo-bridge-write".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(move || write(&shared, shared.lane(role), encoder, writing))
    };
    let Ok(writer) = writer else {
        shared.lane(role).close();
        return "the system has no thread left".to_owned();
    };
    let why = read(shared, role, &mut reader, &mut stream, pings);
    shared.lane(role).close();
    stream.shutdown();
    // It ends at once, because its lane and its stream are closed. A panic in it was reported already.
    let _ = writer.join();
    why
}

fn read(
    shared: &Arc<Shared>,
    role: Role,
    reader: &mut Reader,
    stream: &mut Stream,
    pings: bool,
) -> String {
    let lane = shared.lane(role);
    let mut bytes = vec![0; READ_SIZE];
    let mut quiet = 0;
    let mut progress = lane.progress();
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return "the other side has closed the connection".to_owned(),
            Ok(count) => {
                quiet = 0;
                reader.feed(&bytes[..count]);
                if let Err(error) = take(shared, role, reader) {
                    return error.to_string();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                // While it takes what we write, it is alive: the PING may wait behind that.
                if lane.progress() != progress {
                    progress = lane.progress();
                    quiet = 0;
                }
                quiet += 1;
                if pings && quiet > MOST_QUIET {
                    return "the other side does not answer".to_owned();
                }
                if pings {
                    lane.push_if_open(Outgoing::Ping);
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}

fn take(shared: &Arc<Shared>, role: Role, reader: &mut Reader) -> Result<(), ProtocolError> {
    while let Some(received) = reader.next()? {
        match received {
            Received::Event { event_type, body } if role == Role::Subscribe => {
                shared.on_message(&event_type, &body)
            }
            Received::Odd(why) if role == Role::Subscribe => shared.rejected(why),
            Received::Ping(context) => shared.lane(role).push_if_open(Outgoing::Pong(context)),
            // A publisher hears of subscriptions. It sends everything all the same: what the broker has, nobody misses
            // because his subscription was late.
            Received::Event { .. } | Received::Odd(_) | Received::Other => {}
        }
    }
    Ok(())
}

fn write(shared: &Shared, lane: &Lane, mut encoder: Encoder, mut stream: Stream) {
    let mut out = Vec::new();
    while let Some(batch) = lane.take() {
        out.clear();
        for outgoing in &batch {
            outgoing.write(&mut encoder, &mut out);
        }
        if stream.write_all(&out).is_err() {
            let events = batch
                .iter()
                .filter(|outgoing| matches!(outgoing, Outgoing::Event { .. }))
                .count();
            if events > 0 {
                shared.notice(&Notice::MaybeLost { events });
            }
            break;
        }
        lane.written(&batch);
    }
    stream.shutdown();
}

fn connect(address: &Address) -> Result<Stream, HandshakeError> {
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => io::Error::new(
            error.kind(),
            "nobody hosts a bus there; is `nemo-bridge run` up?",
        ),
        _ => error,
    };
    match address {
        #[cfg(unix)]
        Address::Ipc(path) => Ok(Stream::Unix(UnixStream::connect(path).map_err(absent)?)),
        #[cfg(not(unix))]
        Address::Ipc(_) => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        Address::Tcp { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for target in (host.as_str(), *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&target, PATIENCE) {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(Stream::Tcp(stream));
                    }
                    Err(error) => last = absent(error),
                }
            }
            Err(last.into())
        }
    }
}

/// A socket of either kind.
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
        }
    }

    fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream
                .set_read_timeout(read)
                .and_then(|()| stream.set_write_timeout(write)),
            #[cfg(unix)]
            Stream::Unix(stream) => stream
                .set_read_timeout(read)
                .and_then(|()| stream.set_write_timeout(write)),
        }
    }

    fn shutdown(&self) {
        // It fails where the connection has ended already.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket whose reads and writes all end at one moment.
struct Limited<'a> {
    stream: &'a mut Stream,
    until: Instant,
}

impl Limited<'_> {
    fn limit(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        self.stream.set_timeouts(Some(left), Some(left))
    }
}

fn late() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the other side does not answer in the handshake",
    )
}

fn in_time<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
        _ => error,
    })
}

impl Read for Limited<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        in_time(self.stream.read(bytes))
    }
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit()?;
        in_time(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

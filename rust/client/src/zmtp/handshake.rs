//! The begin of a connection: greeting, security (NULL, or CURVE by RFCs 25 and 26), and the exchange of socket types.

use std::io::{self, Read, Write};

use crypto_box::aead::rand_core::RngCore as _;
use crypto_box::aead::{Aead as _, OsRng};
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use thiserror::Error;

use super::frame::{self, Decoder, Item};
use super::sealed::{Opener, Sealer, numbered_nonce};
use super::{Encoder, ProtocolError, Reader};
use crate::curve::Curve;

const GREETING: usize = 64;
/// The place of the major version in a greeting.
const MAJOR: usize = 10;
/// The largest command of a handshake. CURVE's are below 1 KiB; a READY has a few properties.
const MOST_COMMAND: usize = 8192;
/// Bytes that CURVE adds to a frame: name, nonce, authentication, flags.
const CURVE_OVERHEAD: usize = 8 + 8 + 16 + 1;
/// ZAP's status for a key that is refused (RFC 27).
const REFUSED: &str = "400";

/// Which of the two sockets this connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends events to the publish endpoint.
    Publish,
    /// Receives events from the subscribe endpoint.
    Subscribe,
}

impl Role {
    fn socket_type(self) -> &'static str {
        match self {
            Role::Publish => "PUB",
            Role::Subscribe => "SUB",
        }
    }

    fn peers(self) -> [&'static str; 2] {
        match self {
            Role::Publish => ["XSUB", "SUB"],
            Role::Subscribe => ["XPUB", "PUB"],
        }
    }
}

/// The handshake has failed.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// One side has keys and the other has not, our key is not listed, or this is another endpoint.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Both halves of a connection that is ready.
pub(crate) struct Session {
    pub(crate) encoder: Encoder,
    pub(crate) reader: Reader,
    /// Whether the other side surely knows PING (ZMTP 3.1).
    pub(crate) pings: bool,
}

/// Performs the handshake on a connection that was just opened.
///
/// # Arguments
///
/// * `stream`: the connection; its reads and writes end by themselves after a while.
/// * `role`: which socket we are.
/// * `curve`: the keys, where the bus is closed.
/// * `most`: bytes of the largest frame to accept.
pub(crate) fn handshake(
    stream: &mut (impl Read + Write),
    role: Role,
    curve: Option<&Curve>,
    most: usize,
) -> Result<Session, HandshakeError> {
    let mechanism = if curve.is_some() { "CURVE" } else { "NULL" };
    // libzmq closes the connection as soon as it sees another mechanism than its own, and it tells its own as soon as it
    // knows our major version. So the rest of our greeting follows when we have read all of theirs.
    let ours = greeting(mechanism);
    stream.write_all(&ours[..=MAJOR])?;
    let mut theirs = [0; GREETING];
    stream.read_exact(&mut theirs)?;
    let minor = check_greeting(&theirs, mechanism)?;
    stream.write_all(&ours[MAJOR + 1..])?;
    let mut commands = Commands {
        stream,
        decoder: Decoder::new(MOST_COMMAND),
    };
    let (sealer, opener, properties) = match curve {
        None => {
            // libzmq closes the connection as soon as it sees a socket that does not fit. Its own type it tells at once.
            let properties = commands.receive(b"READY")?;
            check_peer(&properties, role)?;
            commands.send(b"READY", &socket_type(role))?;
            (None, None, properties)
        }
        Some(curve) => curve_handshake(&mut commands, curve, role)?,
    };
    check_peer(&properties, role)?;
    let mut decoder = commands.decoder;
    decoder.set_most(if curve.is_some() {
        most + CURVE_OVERHEAD
    } else {
        most
    });
    Ok(Session {
        encoder: Encoder {
            sealer,
            commands: minor > 0,
        },
        reader: Reader {
            decoder,
            opener,
            first: None,
            odd: None,
        },
        pings: minor > 0,
    })
}

fn greeting(mechanism: &str) -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[MAJOR] = 3;
    bytes[11] = 1;
    bytes[12..12 + mechanism.len()].copy_from_slice(mechanism.as_bytes());
    bytes
}

/// Checks the greeting of the other side, and returns its minor version.
fn check_greeting(bytes: &[u8; GREETING], mechanism: &str) -> Result<u8, HandshakeError> {
    if bytes[0] != 0xff || bytes[9] & 1 != 1 {
        return Err(ProtocolError("something answers there that is no ZeroMQ".to_owned()).into());
    }
    if bytes[MAJOR] < 3 {
        return Err(ProtocolError(
            "the other side speaks a version of ZeroMQ's protocol below 3.0".to_owned(),
        )
        .into());
    }
    let theirs = &bytes[12..32];
    let name = theirs.split(|byte| *byte == 0).next().unwrap_or_default();
    if name != mechanism.as_bytes() {
        return Err(HandshakeError::Refused(
            "one side has CURVE keys, and the other has not".to_owned(),
        ));
    }
    Ok(bytes[11])
}

/// Returns the property that tells our socket's type.
fn socket_type(role: Role) -> Vec<u8> {
    let (name, value) = (b"Socket-Type", role.socket_type().as_bytes());
    let length = (value.len() as u32).to_be_bytes();
    [&[name.len() as u8], name.as_slice(), &length, value].concat()
}

/// Checks that the other side is the socket that we need.
fn check_peer(mut properties: &[u8], role: Role) -> Result<(), HandshakeError> {
    let broken = || ProtocolError("properties that cannot be read".to_owned());
    while let Some((length, rest)) = properties.split_first() {
        let (name, rest) = rest
            .split_at_checked(usize::from(*length))
            .ok_or_else(broken)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| broken())?;
        let (value, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
        properties = rest;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            if role.peers().iter().any(|peer| peer.as_bytes() == value) {
                return Ok(());
            }
            let value = String::from_utf8_lossy(value)
                .chars()
                .take(20)
                .collect::<String>();
            let [wanted, _] = role.peers();
            return Err(HandshakeError::Refused(format!(
                "a socket of type {value:?} is there, and not {wanted}; are the endpoints for publishers and \
                 subscribers exchanged?"
            )));
        }
    }
    Err(ProtocolError("the other side does not tell its socket's type".to_owned()).into())
}

/// Returns what an ERROR command says.
pub(super) fn error_text(data: &[u8]) -> String {
    let reason = data.split_first().map_or(&[][..], |(length, rest)| {
        &rest[..rest.len().min(usize::from(*length))]
    });
    let reason: String = String::from_utf8_lossy(reason)
        .chars()
        .filter(|letter| !letter.is_control())
        .collect();
    if reason == REFUSED {
        "our key is not listed there".to_owned()
    } else {
        format!("the other side refuses us: {reason}")
    }
}

/// The commands of a handshake on a connection.
struct Commands<'a, S> {
    stream: &'a mut S,
    decoder: Decoder,
}

impl<S: Read + Write> Commands<'_, S> {
    fn send(&mut self, name: &[u8], data: &[u8]) -> Result<(), HandshakeError> {
        let mut out = Vec::new();
        frame::write(&mut out, frame::COMMAND, &frame::command_body(name, data));
        Ok(self.stream.write_all(&out)?)
    }

    /// Reads one command, which must have this name, and returns its data.
    fn receive(&mut self, wanted: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let body = loop {
            match self.decoder.next()? {
                Some(Item::Frame {
                    flags: frame::COMMAND,
                    body,
                }) => break body,
                Some(_) => {
                    return Err(ProtocolError(
                        "a message in the middle of the handshake".to_owned(),
                    )
                    .into());
                }
                None => {
                    let mut bytes = [0; 1024];
                    let count = self.stream.read(&mut bytes)?;
                    if count == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    self.decoder.feed(&bytes[..count]);
                }
            }
        };
        let (name, data) = frame::split_command(&body)?;
        if name == b"ERROR" {
            return Err(HandshakeError::Refused(error_text(data)));
        }
        if name != wanted {
            return Err(ProtocolError("an unexpected command in the handshake".to_owned()).into());
        }
        Ok(data.to_vec())
    }
}

type Secured = (Option<Sealer>, Option<Opener>, Vec<u8>);

/// Proves that we have our secret key and that the other side has the bus', and agrees on the connection's keys.
fn curve_handshake<S: Read + Write>(
    commands: &mut Commands<'_, S>,
    curve: &Curve,
    role: Role,
) -> Result<Secured, HandshakeError> {
    let fault = || ProtocolError("a handshake that cannot be decrypted".to_owned());
    let short_secret = SecretKey::generate(&mut OsRng);
    let short_public = short_secret.public_key();

    // HELLO: version 1.0, padding, our short-term key, and a box that proves that we have it.
    let with_server = SalsaBox::new(&curve.server, &short_secret);
    let signature = seal(
        &with_server,
        &numbered_nonce(b"CurveZMQHELLO---", 1),
        &[0; 64],
    )?;
    let number = 1_u64.to_be_bytes();
    commands.send(
        b"HELLO",
        &[
            &[1, 0],
            &[0; 72][..],
            short_public.as_bytes(),
            &number,
            &signature,
        ]
        .concat(),
    )?;

    // WELCOME: the server's short-term key and a cookie.
    let welcome = commands.receive(b"WELCOME")?;
    let (tail, sealed) = welcome.split_first_chunk::<16>().ok_or_else(fault)?;
    let opened = open(&with_server, &random_nonce(b"WELCOME-", tail), sealed)?;
    let (server_short, cookie) = opened.split_first_chunk::<32>().ok_or_else(fault)?;
    if cookie.len() != 96 {
        return Err(fault().into());
    }
    let server_short = PublicKey::from(*server_short);

    // INITIATE: the cookie, and in a box our long-term key, its voucher for the short-term one, and our properties.
    let session = SalsaBox::new(&server_short, &short_secret);
    let mut tail = [0; 16];
    OsRng.fill_bytes(&mut tail);
    let vouched = [short_public.as_bytes().as_slice(), curve.server.as_bytes()].concat();
    let vouch = seal(
        &SalsaBox::new(&server_short, &curve.secret),
        &random_nonce(b"VOUCH---", &tail),
        &vouched,
    )?;
    let content = [
        curve.public.as_bytes().as_slice(),
        &tail,
        &vouch,
        &socket_type(role),
    ]
    .concat();
    let sealed = seal(&session, &numbered_nonce(b"CurveZMQINITIATE", 2), &content)?;
    commands.send(
        b"INITIATE",
        &[cookie, &2_u64.to_be_bytes(), &sealed].concat(),
    )?;

    let ready = commands.receive(b"READY")?;
    let (number, sealed) = ready.split_first_chunk::<8>().ok_or_else(fault)?;
    let number = u64::from_be_bytes(*number);
    let properties = open(
        &session,
        &numbered_nonce(b"CurveZMQREADY---", number),
        sealed,
    )?;
    Ok((
        Some(Sealer::new(SalsaBox::new(&server_short, &short_secret), 2)),
        Some(Opener::new(session, number)),
        properties,
    ))
}

/// Returns a nonce of 24 bytes: a purpose of 8 letters and 16 random bytes.
fn random_nonce(purpose: &[u8; 8], tail: &[u8; 16]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(purpose);
    nonce[8..].copy_from_slice(tail);
    nonce
}

fn seal(key: &SalsaBox, nonce: &[u8; 24], plain: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    key.encrypt(nonce.into(), plain)
        .map_err(|_| ProtocolError("the handshake cannot be encrypted".to_owned()))
}

fn open(key: &SalsaBox, nonce: &[u8; 24], sealed: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    key.decrypt(nonce.into(), sealed).map_err(|_| {
        ProtocolError("the handshake cannot be decrypted; is this the bus' server key?".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::super::Received;
    use super::*;

    /// What the other side says, whatever we say.
    struct Script {
        says: io::Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.says.read(bytes)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn play(
        says: Vec<u8>,
        role: Role,
        curve: Option<&Curve>,
    ) -> (Result<Session, HandshakeError>, Script) {
        let mut script = Script {
            says: io::Cursor::new(says),
            heard: Vec::new(),
        };
        (handshake(&mut script, role, curve, 1000), script)
    }

    fn command(name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::write(&mut out, frame::COMMAND, &frame::command_body(name, data));
        out
    }

    fn ready(socket: &str) -> Vec<u8> {
        let mut data = b"\x08Identity\0\0\0\0\x0bSocket-Type\0\0\0".to_vec();
        data.push(socket.len() as u8);
        data.extend(socket.as_bytes());
        command(b"READY", &data)
    }

    /// The other side of a handshake without keys, of ZMTP 3.`minor`.
    fn other(minor: u8, socket: &str) -> Vec<u8> {
        let mut bytes = greeting("NULL").to_vec();
        bytes[11] = minor;
        bytes.extend(ready(socket));
        bytes
    }

    fn error(says: Vec<u8>, role: Role) -> String {
        match play(says, role, None).0 {
            Ok(_) => panic!("no error"),
            Err(error) => error.to_string(),
        }
    }

    // Both versions of the protocol are spoken: 3.1 subscribes by commands, and 3.0 by messages.
    #[test]
    fn versions() {
        for (minor, expected) in [
            (0, &b"\x00\x03\x01a."[..]),
            (1, &b"\x04\x0c\x09SUBSCRIBEa."[..]),
        ] {
            let (session, script) = play(other(minor, "XPUB"), Role::Subscribe, None);
            let mut session = session.unwrap();
            let mut out = Vec::new();
            session.encoder.subscription(&mut out, b"a.", true);
            assert_eq!(out, expected);
            assert_eq!(session.pings, minor == 1);
            assert_eq!(script.heard[..64], greeting("NULL"));
        }
    }

    // What is no bus, the other endpoint, or closed to us, is told as that.
    #[test]
    fn reasons() {
        assert!(
            error(b"HTTP/1.1 400 Bad Request\r\n".repeat(4), Role::Publish).contains("no ZeroMQ")
        );
        assert!(error(other(1, "XPUB"), Role::Publish).contains("exchanged"));
        assert!(error(other(1, "XSUB"), Role::Subscribe).contains("exchanged"));
        assert!(
            error(greeting("CURVE").to_vec(), Role::Publish).contains("one side has CURVE keys")
        );
        let refused = [greeting("NULL").to_vec(), command(b"ERROR", b"\x03400")].concat();
        assert!(error(refused, Role::Publish).contains("not listed"));
        let mut old = other(0, "XSUB");
        old[10] = 2;
        assert!(error(old, Role::Publish).contains("below 3.0"));
        for end in 0..other(1, "XSUB").len() {
            error(other(1, "XSUB")[..end].to_vec(), Role::Publish);
        }
    }

    // Messages are put together from their frames; others are counted as odd, and a PING is answered.
    #[test]
    fn messages() {
        let mut bytes = other(1, "XPUB");
        let mut add = |flags: u8, body: &[u8]| frame::write(&mut bytes, flags, body);
        add(frame::MORE, b"a");
        add(0, b"1");
        add(0, b"alone");
        add(frame::MORE, b"three");
        add(frame::MORE, b"");
        add(0, b"");
        add(frame::MORE, b"large");
        add(0, &[0; 2000]);
        add(frame::COMMAND, b"\x04PING\0\0context");
        add(frame::MORE, b"b");
        add(0, b"2");
        let (session, mut script) = play(bytes, Role::Subscribe, None);
        let mut reader = session.unwrap().reader;
        let mut rest = Vec::new();
        script.read_to_end(&mut rest).unwrap();
        reader.feed(&rest);
        let found: Vec<Received> = std::iter::from_fn(|| reader.next().unwrap()).collect();
        let event = |event_type: &[u8], body: &[u8]| Received::Event {
            event_type: event_type.to_vec(),
            body: body.to_vec(),
        };
        let odd = || Received::Odd("it has not two frames");
        let expected = [
            event(b"a", b"1"),
            odd(),
            odd(),
            Received::Odd("it is too large"),
            Received::Ping(b"context".to_vec()),
            event(b"b", b"2"),
        ];
        assert_eq!(found, expected);
    }

    // Whatever the other side says, the handshake and the reading after it end with a result or an error.
    #[test]
    fn mutated() {
        let curve = Curve::for_tests();
        let mut good = other(1, "XPUB");
        frame::write(&mut good, frame::MORE, b"a");
        frame::write(&mut good, 0, b"1");
        let mut closed = greeting("CURVE").to_vec();
        closed.extend(command(b"WELCOME", &[7; 160]));
        closed.extend(command(b"READY", &[7; 40]));
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 1).unwrap_or_default() % below
        };
        let mut well = 0;
        for round in 0..5000 {
            // Encryption is slow in a build for tests.
            let with_keys = round % 100 == 0;
            let mut bytes = if with_keys {
                closed.clone()
            } else {
                good.clone()
            };
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            bytes.truncate(random(2 * bytes.len()));
            let (session, _) = play(bytes, Role::Subscribe, with_keys.then_some(&curve));
            if let Ok(mut session) = session {
                well += 1;
                while let Ok(Some(_)) = session.reader.next() {}
            }
        }
        assert!(well > 0);
    }
}

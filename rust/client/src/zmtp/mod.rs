//! ZMTP 3.0 and 3.1, the protocol of ZeroMQ's connections (RFCs 23 and 37), for a PUB and a SUB that connect.
//!
//! Nothing here opens sockets or keeps time.

mod frame;
mod handshake;
mod sealed;

use thiserror::Error;

use frame::{Decoder, Item};
pub(crate) use handshake::{HandshakeError, Role, Session, handshake};
use sealed::{Opener, Sealer};

/// The other side has sent what is not ZMTP; the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct ProtocolError(pub(crate) String);

/// Writes messages as bytes of the connection; encrypted, where it has keys.
pub(crate) struct Encoder {
    sealer: Option<Sealer>,
    /// ZMTP 3.1 has commands for subscriptions; before, they are messages.
    commands: bool,
}

impl Encoder {
    /// Appends an event of two frames.
    pub(crate) fn event(&mut self, out: &mut Vec<u8>, event_type: &[u8], body: &[u8]) {
        self.frame(out, frame::MORE, event_type);
        self.frame(out, 0, body);
    }

    /// Appends the begin or the end of a subscription.
    pub(crate) fn subscription(&mut self, out: &mut Vec<u8>, prefix: &[u8], begins: bool) {
        if self.commands {
            self.command(out, if begins { b"SUBSCRIBE" } else { b"CANCEL" }, prefix);
        } else {
            self.frame(out, 0, &[&[u8::from(begins)], prefix].concat());
        }
    }

    /// Appends a PING, to which the other side answers. A time to live of 0 lets it do nothing else.
    pub(crate) fn ping(&mut self, out: &mut Vec<u8>) {
        self.command(out, b"PING", &[0, 0]);
    }

    /// Appends the answer to a PING with this context.
    pub(crate) fn pong(&mut self, out: &mut Vec<u8>, context: &[u8]) {
        self.command(out, b"PONG", context);
    }

    fn command(&mut self, out: &mut Vec<u8>, name: &[u8], data: &[u8]) {
        self.frame(out, frame::COMMAND, &frame::command_body(name, data));
    }

    fn frame(&mut self, out: &mut Vec<u8>, flags: u8, body: &[u8]) {
        match &mut self.sealer {
            None => frame::write(out, flags, body),
            Some(sealer) => frame::write(out, 0, &sealer.seal(flags, body)),
        }
    }
}

/// One thing that the other side has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message of two frames.
    Event { event_type: Vec<u8>, body: Vec<u8> },
    /// A message that is no event: another number of frames, or larger than the limit.
    Odd(&'static str),
    /// A PING with this context.
    Ping(Vec<u8>),
    /// Anything that needs no answer.
    Other,
}

/// Puts messages together from the bytes of a connection.
pub(crate) struct Reader {
    decoder: Decoder,
    opener: Option<Opener>,
    first: Option<Vec<u8>>,
    /// Why the message that is being read is no event.
    odd: Option<&'static str>,
}

/// The longest context of a PING (RFC 37).
const MOST_CONTEXT: usize = 16;
const TOO_LARGE: &str = "it is too large";

impl Reader {
    /// Takes bytes as they were read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
    }

    /// Returns the next message or command, or `None` where more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Received>, ProtocolError> {
        loop {
            let (flags, body) = match self.decoder.next()? {
                None => return Ok(None),
                Some(Item::Oversized { more }) => {
                    self.odd = Some(TOO_LARGE);
                    // Whether more follows an encrypted frame is written inside of it. An event's second frame is its
                    // last, and nobody has a first one of that size.
                    if more {
                        continue;
                    }
                    return Ok(Some(self.end()));
                }
                Some(Item::Frame { flags, body }) => match &mut self.opener {
                    None => (flags, body),
                    Some(opener) => opener.open(&body)?,
                },
            };
            if flags & frame::COMMAND != 0 {
                return command(&body).map(Some);
            }
            let more = flags & frame::MORE != 0;
            match (self.first.take(), self.odd, more) {
                (None, None, true) => self.first = Some(body),
                (Some(event_type), None, false) => {
                    return Ok(Some(Received::Event { event_type, body }));
                }
                (_, odd, _) => {
                    self.odd = Some(odd.unwrap_or("it has not two frames"));
                    if !more {
                        return Ok(Some(self.end()));
                    }
                }
            }
        }
    }

    fn end(&mut self) -> Received {
        self.first = None;
        Received::Odd(self.odd.take().unwrap_or(TOO_LARGE))
    }
}

fn command(body: &[u8]) -> Result<Received, ProtocolError> {
    let (name, data) = frame::split_command(body)?;
    match name {
        b"PING" => {
            // Two bytes of a time to live, then the context.
            let context = data.get(2..).unwrap_or_default();
            Ok(Received::Ping(
                context[..context.len().min(MOST_CONTEXT)].to_vec(),
            ))
        }
        b"ERROR" => Err(ProtocolError(handshake::error_text(data))),
        _ => Ok(Received::Other),
    }
}

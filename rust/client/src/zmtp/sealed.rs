//! The encryption of a connection's frames, after the handshake (RFC 26, "The MESSAGE command").

use crypto_box::SalsaBox;
use crypto_box::aead::Aead as _;

use super::ProtocolError;
use super::frame::{COMMAND, MORE};

const NAME: &[u8] = b"\x07MESSAGE";
/// The flags within an encrypted frame, which are not those of a plain one.
const SEALED_MORE: u8 = 1;
const SEALED_COMMAND: u8 = 2;

/// Returns a nonce of 24 bytes: a purpose of 16 letters and a number.
pub(super) fn numbered_nonce(purpose: &[u8; 16], number: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(purpose);
    nonce[16..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// Encrypts what we send.
pub(crate) struct Sealer {
    key: SalsaBox,
    number: u64,
}

impl Sealer {
    /// `number` is the number of the last nonce that was used.
    pub(super) fn new(key: SalsaBox, number: u64) -> Sealer {
        Sealer { key, number }
    }

    /// Returns the body of the frame that carries this one.
    pub(super) fn seal(&mut self, flags: u8, body: &[u8]) -> Vec<u8> {
        self.number += 1;
        let nonce = numbered_nonce(b"CurveZMQMESSAGEC", self.number);
        let mut plain = Vec::with_capacity(1 + body.len());
        let more = if flags & MORE == 0 { 0 } else { SEALED_MORE };
        let command = if flags & COMMAND == 0 {
            0
        } else {
            SEALED_COMMAND
        };
        plain.push(more | command);
        plain.extend(body);
        // It fails only for more than 256 GiB.
        let sealed = self
            .key
            .encrypt(&nonce.into(), plain.as_slice())
            .unwrap_or_default();
        [NAME, &self.number.to_be_bytes(), &sealed].concat()
    }
}

/// Decrypts what we receive.
pub(crate) struct Opener {
    key: SalsaBox,
    number: u64,
}

impl Opener {
    /// `number` is the number of the last nonce that was received.
    pub(super) fn new(key: SalsaBox, number: u64) -> Opener {
        Opener { key, number }
    }

    /// Returns flags and body of the frame within this one.
    pub(super) fn open(&mut self, sealed: &[u8]) -> Result<(u8, Vec<u8>), ProtocolError> {
        let fault = || ProtocolError("a frame that cannot be decrypted".to_owned());
        let (number, content) = sealed
            .strip_prefix(NAME)
            .and_then(<[u8]>::split_first_chunk::<8>)
            .ok_or_else(fault)?;
        let number = u64::from_be_bytes(*number);
        // A number that comes again is a repeated frame (RFC 26, "Nonces").
        if number <= self.number {
            return Err(fault());
        }
        let nonce = numbered_nonce(b"CurveZMQMESSAGES", number);
        let mut plain = self
            .key
            .decrypt(&nonce.into(), content)
            .map_err(|_| fault())?;
        if plain.is_empty() {
            return Err(fault());
        }
        self.number = number;
        let inner = plain.remove(0);
        let more = if inner & SEALED_MORE == 0 { 0 } else { MORE };
        let command = if inner & SEALED_COMMAND == 0 {
            0
        } else {
            COMMAND
        };
        Ok((more | command, plain))
    }
}

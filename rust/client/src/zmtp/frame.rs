//! Frames: flags, length, body (RFC 23, "Framing").

use super::ProtocolError;

pub(super) const MORE: u8 = 1;
const LONG: u8 = 2;
pub(super) const COMMAND: u8 = 4;
/// Bytes after which what was read already is removed from the buffer.
const COMPACT: usize = 1 << 16;

/// Appends one frame.
pub(super) fn write(out: &mut Vec<u8>, flags: u8, body: &[u8]) {
    if let Ok(short) = u8::try_from(body.len()) {
        out.extend([flags, short]);
    } else {
        out.push(flags | LONG);
        out.extend((body.len() as u64).to_be_bytes());
    }
    out.extend(body);
}

/// Returns the body of a command frame.
pub(super) fn command_body(name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 + name.len() + data.len());
    body.push(name.len() as u8);
    body.extend(name);
    body.extend(data);
    body
}

/// Splits the body of a command frame into its name and its data.
pub(super) fn split_command(body: &[u8]) -> Result<(&[u8], &[u8]), ProtocolError> {
    let broken = || ProtocolError("a command without a name".to_owned());
    let (length, rest) = body.split_first().ok_or_else(broken)?;
    rest.split_at_checked(usize::from(*length))
        .ok_or_else(broken)
}

/// What a [`Decoder`] returns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A whole frame.
    Frame { flags: u8, body: Vec<u8> },
    /// A frame that is larger than the limit. Its bytes are skipped and not kept.
    Oversized { more: bool },
}

/// Cuts the bytes of a connection into frames.
pub(crate) struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    most: usize,
    skip: u64,
}

impl Decoder {
    /// Creates one; bodies of more than `most` bytes are skipped.
    pub(crate) fn new(most: usize) -> Decoder {
        Decoder {
            buffer: Vec::new(),
            start: 0,
            most,
            skip: 0,
        }
    }

    /// Changes the limit.
    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Takes bytes as they were read.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        if self.skip > 0 {
            let count = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.skip -= count as u64;
            bytes = &bytes[count..];
        }
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > COMPACT {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next frame, or `None` where more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, ProtocolError> {
        let rest = &self.buffer[self.start..];
        let Some(&flags) = rest.first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(ProtocolError(format!(
                "a frame with the flags {flags:#04x}"
            )));
        }
        let (length, header) = if flags & LONG == 0 {
            let Some(&length) = rest.get(1) else {
                return Ok(None);
            };
            (u64::from(length), 2)
        } else {
            let Some(length) = rest.get(1..9) else {
                return Ok(None);
            };
            let length = length.try_into().map_or(0, u64::from_be_bytes);
            if length >> 63 != 0 {
                return Err(ProtocolError("a frame of more than 2^63 bytes".to_owned()));
            }
            (length, 9)
        };
        let Some(size) = usize::try_from(length)
            .ok()
            .filter(|size| *size <= self.most)
        else {
            let there = rest.len() - header;
            let skipped = usize::try_from(length).unwrap_or(usize::MAX).min(there);
            self.start += header + skipped;
            self.skip = length - skipped as u64;
            return Ok(Some(Item::Oversized {
                more: flags & MORE != 0,
            }));
        };
        let Some(body) = rest.get(header..header + size) else {
            return Ok(None);
        };
        let body = body.to_vec();
        self.start += header + size;
        Ok(Some(Item::Frame {
            flags: flags & (MORE | COMMAND),
            body,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Frames of every size come out as they were written, however their bytes arrive.
    #[test]
    fn round_trip() {
        let bodies: Vec<Vec<u8>> = [0, 1, 255, 256, 70_000]
            .iter()
            .map(|size| vec![7; *size])
            .collect();
        let mut bytes = Vec::new();
        for body in &bodies {
            write(&mut bytes, MORE, body);
        }
        for step in [1, 3, 1000, usize::MAX] {
            let mut decoder = Decoder::new(1 << 20);
            let mut found = Vec::new();
            for part in bytes.chunks(step.min(bytes.len())) {
                decoder.feed(part);
                while let Some(Item::Frame { body, flags: MORE }) = decoder.next().unwrap() {
                    found.push(body);
                }
            }
            assert_eq!(found, bodies);
        }
    }

    // A frame that is too large is skipped without being kept, and the one after it is read.
    #[test]
    fn oversized() {
        let mut bytes = Vec::new();
        write(&mut bytes, 0, &[1; 5000]);
        write(&mut bytes, 0, b"next");
        for step in [1, 100, bytes.len()] {
            let mut decoder = Decoder::new(1000);
            let mut found = Vec::new();
            for part in bytes.chunks(step) {
                decoder.feed(part);
                assert!(decoder.buffer.len() <= step + 10);
                found.extend(std::iter::from_fn(|| decoder.next().unwrap()));
                if step < bytes.len() {
                    continue;
                }
            }
            assert_eq!(
                found,
                [
                    Item::Oversized { more: false },
                    Item::Frame {
                        flags: 0,
                        body: b"next".to_vec()
                    }
                ]
            );
        }
    }

    // A length that no machine has memory for takes none.
    #[test]
    fn huge_length() {
        let mut decoder = Decoder::new(1000);
        decoder.feed(&[
            LONG, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3,
        ]);
        assert_eq!(
            decoder.next().unwrap(),
            Some(Item::Oversized { more: false })
        );
        assert_eq!(decoder.next().unwrap(), None);
        let mut decoder = Decoder::new(1000);
        decoder.feed(&[LONG, 0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert!(decoder.next().is_err());
    }
}

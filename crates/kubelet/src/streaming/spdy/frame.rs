//! Frames: their layout on the wire, and a reader that never holds more than one bounded piece.
//!
//! A data frame may be as long as the protocol allows (16 MiB): the reader hands it on in pieces as they
//! arrive. Control frames are bounded. Control frames of unknown types are skipped, as the protocol asks.
use super::{
    Error,
    headers::{Compressor, Decompressor, Headers},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of data in one piece, read or written.
pub const MAX_DATA_BYTES: usize = 16 * 1024;
/// The longest control frame accepted.
const MAX_CONTROL_BYTES: usize = 64 * 1024;
/// Pieces shorter than this are copied out of the read buffer, so that they do not keep it alive.
const COPY_BELOW_BYTES: usize = 1024;
const READ_BUFFER_BYTES: usize = 2 * MAX_DATA_BYTES;
const HEADER_BYTES: usize = 8;
const VERSION: u16 = 3;
const CONTROL: u32 = 0x8000_0000;
const ID: u32 = 0x7fff_ffff;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;

/// One frame. `fin`: the sender sends nothing more on this stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        stream: u32,
        fin: bool,
        unidirectional: bool,
        headers: Headers,
    },
    SynReply {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    RstStream {
        stream: u32,
        status: u32,
    },
    /// Pairs of id and value.
    Settings(Vec<(u32, u32)>),
    Ping(u32),
    GoAway {
        last: u32,
        status: u32,
    },
    Headers {
        stream: u32,
        fin: bool,
        headers: Headers,
    },
    WindowUpdate {
        stream: u32,
        delta: u32,
    },
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
}

impl Frame {
    /// Appends the frame to `out`. Frames must be encoded in the order in which they are sent.
    ///
    /// # Errors
    /// The frame is longer than its length field can say.
    pub fn encode(&self, compressor: &mut Compressor, out: &mut BytesMut) -> Result<(), Error> {
        if let Frame::Data { stream, fin, bytes } = self {
            out.reserve(HEADER_BYTES + bytes.len());
            out.put_u32(stream & ID);
            put_length(out, u8::from(*fin), bytes.len())?;
            out.put_slice(bytes);
            return Ok(());
        }
        let mut body = BytesMut::with_capacity(64);
        let (kind, flags) = match self {
            Frame::SynStream { stream, fin, unidirectional, headers } => {
                body.put_u32(stream & ID);
                // Associated stream, priority and slot: unused.
                body.put_u32(0);
                body.put_u16(0);
                compressor.encode(headers, &mut body)?;
                (1, u8::from(*fin) | if *unidirectional { UNIDIRECTIONAL } else { 0 })
            }
            Frame::SynReply { stream, fin, headers } => {
                body.put_u32(stream & ID);
                compressor.encode(headers, &mut body)?;
                (2, u8::from(*fin))
            }
            Frame::RstStream { stream, status } => {
                body.put_u32(stream & ID);
                body.put_u32(*status);
                (3, 0)
            }
            Frame::Settings(settings) => {
                body.put_u32(settings.len() as u32);
                for (id, value) in settings {
                    body.put_u32(id & 0x00ff_ffff);
                    body.put_u32(*value);
                }
                (4, 0)
            }
            Frame::Ping(id) => {
                body.put_u32(*id);
                (6, 0)
            }
            Frame::GoAway { last, status } => {
                body.put_u32(last & ID);
                body.put_u32(*status);
                (7, 0)
            }
            Frame::Headers { stream, fin, headers } => {
                body.put_u32(stream & ID);
                compressor.encode(headers, &mut body)?;
                (8, u8::from(*fin))
            }
            Frame::WindowUpdate { stream, delta } => {
                body.put_u32(stream & ID);
                body.put_u32(delta & ID);
                (9, 0)
            }
            Frame::Data { .. } => return Ok(()),
        };
        out.reserve(HEADER_BYTES + body.len());
        out.put_u16(0x8000 | VERSION);
        out.put_u16(kind);
        put_length(out, flags, body.len())?;
        out.put_slice(&body);
        Ok(())
    }
}

fn put_length(out: &mut BytesMut, flags: u8, length: usize) -> Result<(), Error> {
    let length = u32::try_from(length).ok().filter(|length| *length < 1 << 24);
    let length = length.ok_or(Error::Protocol("frame is too long"))?;
    out.put_u32(u32::from(flags) << 24 | length);
    Ok(())
}

/// The control frame of type `kind`; `None` for types that are to be ignored.
fn control(kind: u16, flags: u8, mut body: &[u8], headers: &mut Decompressor) -> Result<Option<Frame>, Error> {
    const SHORT: Error = Error::Protocol("control frame is too short");
    fn number(body: &mut &[u8]) -> Result<u32, Error> {
        body.try_get_u32().map_err(|_| SHORT)
    }
    let body = &mut body;
    let fin = flags & FIN != 0;
    let frame = match kind {
        1 => {
            let stream = number(body)? & ID;
            number(body)?;
            body.try_get_u16().map_err(|_| SHORT)?;
            let unidirectional = flags & UNIDIRECTIONAL != 0;
            Frame::SynStream { stream, fin, unidirectional, headers: headers.decode(body)? }
        }
        2 => Frame::SynReply { stream: number(body)? & ID, fin, headers: headers.decode(body)? },
        3 => Frame::RstStream { stream: number(body)? & ID, status: number(body)? },
        4 => {
            let count = number(body)? as usize;
            if count != body.len() / 8 {
                return Err(Error::Protocol("SETTINGS of the wrong length"));
            }
            let mut settings = Vec::with_capacity(count);
            for _ in 0..count {
                settings.push((number(body)? & 0x00ff_ffff, number(body)?));
            }
            Frame::Settings(settings)
        }
        6 => Frame::Ping(number(body)?),
        7 => Frame::GoAway { last: number(body)? & ID, status: number(body)? },
        8 => Frame::Headers { stream: number(body)? & ID, fin, headers: headers.decode(body)? },
        9 => Frame::WindowUpdate { stream: number(body)? & ID, delta: number(body)? & ID },
        _ => return Ok(None),
    };
    Ok(Some(frame))
}

/// The rest of a data frame that is being handed on.
struct Rest {
    stream: u32,
    fin: bool,
    left: usize,
}

/// Reads frames.
pub struct Reader<R> {
    io: R,
    buffer: BytesMut,
    headers: Decompressor,
    rest: Option<Rest>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(io: R) -> Reader<R> {
        Reader { io, buffer: BytesMut::new(), headers: Decompressor::default(), rest: None }
    }

    /// The next frame, or `None` when the peer is done. Not to be called again after an error.
    ///
    /// # Errors
    /// The connection failed, or the peer broke the protocol.
    pub async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(rest) = self.rest.take() {
                return self.data(rest).await.map(Some);
            }
            if !self.fill(HEADER_BYTES).await? {
                return Ok(None);
            }
            let first = self.buffer.get_u32();
            let second = self.buffer.get_u32();
            let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
            if first & CONTROL == 0 {
                self.rest = Some(Rest { stream: first, fin: flags & FIN != 0, left: length });
                continue;
            }
            if (first & ID) >> 16 != u32::from(VERSION) {
                return Err(Error::Protocol("unsupported version"));
            }
            if length > MAX_CONTROL_BYTES {
                return Err(Error::Protocol("control frame is too long"));
            }
            if length > 0 && !self.fill(length).await? {
                return Err(Error::Protocol("connection ended inside a frame"));
            }
            let body = self.buffer.split_to(length);
            if let Some(frame) = control((first & 0xffff) as u16, flags, &body, &mut self.headers)? {
                return Ok(Some(frame));
            }
        }
    }

    async fn data(&mut self, rest: Rest) -> Result<Frame, Error> {
        let Rest { stream, fin, left } = rest;
        if left > 0 && self.buffer.is_empty() && !self.fill(1).await? {
            return Err(Error::Protocol("connection ended inside a frame"));
        }
        let piece = left.min(self.buffer.len()).min(MAX_DATA_BYTES);
        let bytes = self.buffer.split_to(piece);
        let bytes = if piece < COPY_BELOW_BYTES { Bytes::copy_from_slice(&bytes) } else { bytes.freeze() };
        let left = left - piece;
        if left > 0 {
            self.rest = Some(Rest { stream, fin, left });
        }
        Ok(Frame::Data { stream, fin: fin && left == 0, bytes })
    }

    /// Reads until `length` bytes are there; `false` when the connection ended before the first of them.
    async fn fill(&mut self, length: usize) -> Result<bool, Error> {
        while self.buffer.len() < length {
            self.buffer.reserve(READ_BUFFER_BYTES.max(length - self.buffer.len()));
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(false);
                }
                return Err(Error::Protocol("connection ended inside a frame"));
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use proptest::prelude::*;

    fn headers() -> impl Strategy<Value = Headers> {
        prop::collection::vec(("[a-z]{1,12}", "[ -~]{0,40}"), 0..5).prop_map(|list| {
            list.into_iter().fold(Headers::default(), |headers, (name, value)| headers.with(&name, value))
        })
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let id = 0..=ID;
        prop_oneof![
            (id.clone(), any::<bool>(), any::<bool>(), headers()).prop_map(|(stream, fin, unidirectional, headers)| {
                Frame::SynStream { stream, fin, unidirectional, headers }
            }),
            (id.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
                stream,
                fin,
                headers
            }),
            (id.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
            prop::collection::vec((0..1u32 << 24, any::<u32>()), 0..6).prop_map(Frame::Settings),
            any::<u32>().prop_map(Frame::Ping),
            (id.clone(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
            (id.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
                stream,
                fin,
                headers
            }),
            (id.clone(), id.clone()).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
            (id, any::<bool>(), prop::collection::vec(any::<u8>(), 0..MAX_DATA_BYTES))
                .prop_map(|(stream, fin, bytes)| Frame::Data { stream, fin, bytes: bytes.into() }),
        ]
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Frame>, Error> {
        let mut reader = Reader::new(bytes);
        let mut frames: Vec<Frame> = Vec::new();
        while let Some(frame) = block_on(reader.next())? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_long_data_frame_comes_in_pieces() {
        let mut wire = BytesMut::new();
        wire.put_u32(7);
        wire.put_u32(1 << 24 | 100_000);
        wire.put_slice(&[9; 100_000]);
        let mut reader = Reader::new(&wire[..]);
        let mut total = 0;
        loop {
            let frame = block_on(reader.next()).expect("valid").expect("more");
            let Frame::Data { stream: 7, fin, bytes } = frame else { panic!("{frame:?}") };
            assert!(bytes.len() <= MAX_DATA_BYTES);
            total += bytes.len();
            if fin {
                break;
            }
        }
        assert_eq!(total, 100_000);
        assert!(block_on(reader.next()).expect("end").is_none());
    }

    #[test]
    fn what_breaks_the_protocol_is_an_error() {
        let table: [(&str, &[u8]); 5] = [
            ("unsupported version", &[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]),
            ("control frame is too long", &[0x80, 3, 0, 6, 0, 0xff, 0, 0]),
            ("control frame is too short", &[0x80, 3, 0, 7, 0, 0, 0, 4, 0, 0, 0, 1]),
            ("connection ended inside a frame", &[0x80, 3, 0, 6, 0, 0, 0, 4, 0]),
            ("SETTINGS of the wrong length", &[0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0, 0, 0]),
        ];
        for (message, wire) in table {
            let error = decode(wire).expect_err(message);
            assert_eq!(error.to_string(), format!("SPDY protocol error: {message}"));
        }
    }

    #[test]
    fn unknown_control_frames_are_skipped() {
        let wire = [0x80, 3, 0, 77, 0, 0, 0, 2, 1, 2, 0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5];
        assert_eq!(decode(&wire).expect("valid"), [Frame::Ping(5)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_come_back(frames in prop::collection::vec(frames(), 1..8)) {
            let (mut compressor, mut wire) = (Compressor::new(), BytesMut::new());
            for frame in &frames {
                frame.encode(&mut compressor, &mut wire).expect("encodes");
            }
            let mut reader = Reader::new(&wire[..]);
            for frame in frames {
                let mut read = block_on(reader.next()).expect("valid").expect("more");
                while let (Frame::Data { bytes: so_far, fin: end, .. }, Frame::Data { bytes: all, .. }) = (&mut read, &frame) {
                    if so_far.len() == all.len() {
                        break;
                    }
                    let Some(Frame::Data { bytes, fin, .. }) = block_on(reader.next()).expect("valid") else { break };
                    *so_far = [&so_far[..], &bytes[..]].concat().into();
                    *end = fin;
                }
                prop_assert_eq!(read, frame);
            }
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000), kind in 0u8..12) {
            let _ = decode(&bytes);
            // And behind a header that lets them through to the parser.
            let length = (bytes.len() as u32).to_be_bytes();
            let mut wire = vec![0x80, 3, 0, kind, 0, length[1], length[2], length[3]];
            wire.append(&mut bytes);
            let _ = decode(&wire);
        }
    }
}

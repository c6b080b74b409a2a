//! Header blocks: name/value lists, zlib-compressed with the dictionary SPDY/3 prescribes.
//!
//! Both directions keep one compression state for the whole connection, so blocks must be coded in the
//! order of the wire. The dictionary is brought in by running it through the raw deflate state first (for
//! reading as one stored block, for writing by compressing it and dropping the output), which has the same
//! effect as zlib's `SetDictionary` and works with every backend of `flate2`.
use super::Error;
use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::sync::LazyLock;

/// The largest header block accepted, in bytes after decompression.
const MAX_BLOCK_BYTES: usize = 64 * 1024;
/// The most headers accepted in one block.
const MAX_HEADERS: usize = 128;
/// How much room the (de)compressor gets at a time.
const STEP_BYTES: usize = 2048;
/// CMF and FLG of a zlib stream that names a preset dictionary.
const ZLIB_HEADER: [u8; 2] = [0x78, 0xbb];
const FLAG_DICTIONARY: u8 = 0x20;

/// The dictionary's first part: each word is preceded by its length, as four bytes, big-endian.
const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,\
accept-ranges,age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,\
content-length,content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,\
if-match,if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,\
pragma,proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,\
upgrade,user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,\
set-cookie,keep-alive,origin";
/// The dictionary's second part, plain text.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug \
Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split(',') {
        bytes.extend_from_slice(&(word.len() as u32).to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
});

/// A header list in wire order. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// This list and one more header; `name` is made lower case.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Headers {
        self.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first value of a header, by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        value.split('\0').next()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(128);
        block.put_u32(self.0.len() as u32);
        for (name, value) in &self.0 {
            for text in [name, value] {
                block.put_u32(text.len() as u32);
                block.put_slice(text.as_bytes());
            }
        }
        block
    }

    fn parse(block: &[u8]) -> Result<Headers, Error> {
        const TRUNCATED: Error = Error::Protocol("header block is truncated");
        fn number<'a>(rest: &mut &'a [u8]) -> Result<usize, Error> {
            let (first, after): (&'a [u8; 4], _) = rest.split_first_chunk().ok_or(TRUNCATED)?;
            *rest = after;
            Ok(u32::from_be_bytes(*first) as usize)
        }
        fn text(rest: &mut &[u8]) -> Result<String, Error> {
            let length = number(rest)?;
            let (first, after) = rest.split_at_checked(length).ok_or(TRUNCATED)?;
            *rest = after;
            let text = str::from_utf8(first).map_err(|_| Error::Protocol("header is not UTF-8"))?;
            Ok(text.to_owned())
        }
        let mut rest = block;
        let count = number(&mut rest)?;
        if count > MAX_HEADERS {
            return Err(Error::Protocol("too many headers"));
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let name = text(&mut rest)?;
            if name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(Error::Protocol("header name is empty or not lower case"));
            }
            headers.push((name, text(&mut rest)?));
        }
        Ok(Headers(headers))
    }
}

/// The writing side's compression state.
pub struct Compressor {
    deflate: Compress,
    started: bool,
}

impl Compressor {
    pub fn new() -> Compressor {
        Compressor { deflate: Compress::new(Compression::fast(), false), started: false }
    }

    /// Appends the compressed block to `out`.
    pub fn encode(&mut self, headers: &Headers, out: &mut BytesMut) -> Result<(), Error> {
        if !self.started {
            self.started = true;
            self.compress(&DICTIONARY)?;
            out.put_slice(&ZLIB_HEADER);
            out.put_u32(adler32(&DICTIONARY));
        }
        let compressed = self.compress(&headers.to_bytes())?;
        out.put_slice(&compressed);
        Ok(())
    }

    /// Everything of `input`, flushed to a byte boundary.
    fn compress(&mut self, mut input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(STEP_BYTES);
        loop {
            let before = self.deflate.total_in();
            let status = self
                .deflate
                .compress_vec(input, &mut out, FlushCompress::Sync)
                .map_err(|_| Error::Protocol("header block cannot be compressed"))?;
            let taken = (self.deflate.total_in() - before) as usize;
            input = input.get(taken..).unwrap_or_default();
            // Room left over means that the flush is complete.
            if input.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
            if status == Status::StreamEnd {
                return Err(Error::Protocol("header compression ended"));
            }
            out.reserve(STEP_BYTES);
        }
    }
}

/// The reading side's compression state.
#[derive(Default)]
pub struct Decompressor {
    inflate: Option<Decompress>,
}

impl Decompressor {
    /// The headers of one compressed block.
    ///
    /// # Errors
    /// The block is not what the protocol allows, or too large; the state is unusable after that.
    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, Error> {
        let (inflate, input) = match &mut self.inflate {
            Some(inflate) => (inflate, block),
            slot => {
                let (inflate, rest) = start(block)?;
                (slot.insert(inflate), rest)
            }
        };
        Headers::parse(&expand(inflate, input)?)
    }
}

/// Checks the zlib header, which opens the connection's first block, and brings in the dictionary.
fn start(block: &[u8]) -> Result<(Decompress, &[u8]), Error> {
    let (&[method, flags], rest) =
        block.split_first_chunk().ok_or(Error::Protocol("header block without a zlib header"))?;
    if method & 0x0f != 8 || u16::from_be_bytes([method, flags]) % 31 != 0 {
        return Err(Error::Protocol("header block without a zlib header"));
    }
    let mut inflate = Decompress::new(false);
    if flags & FLAG_DICTIONARY == 0 {
        return Ok((inflate, rest));
    }
    let (id, rest) = rest.split_first_chunk().ok_or(Error::Protocol("header block without a dictionary id"))?;
    if u32::from_be_bytes(*id) != adler32(&DICTIONARY) {
        return Err(Error::Protocol("header block with a foreign dictionary"));
    }
    let length = DICTIONARY.len() as u16;
    let mut stored = Vec::with_capacity(DICTIONARY.len() + 5);
    stored.push(0);
    stored.extend_from_slice(&length.to_le_bytes());
    stored.extend_from_slice(&(!length).to_le_bytes());
    stored.extend_from_slice(&DICTIONARY);
    expand(&mut inflate, &stored)?;
    Ok((inflate, rest))
}

fn expand(inflate: &mut Decompress, mut input: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(STEP_BYTES);
    loop {
        let (before, length) = (inflate.total_in(), out.len());
        let status = inflate
            .decompress_vec(input, &mut out, FlushDecompress::Sync)
            .map_err(|_| Error::Protocol("header block is not valid zlib"))?;
        let taken = (inflate.total_in() - before) as usize;
        input = input.get(taken..).unwrap_or_default();
        if out.len() > MAX_BLOCK_BYTES {
            return Err(Error::Protocol("header block is too large"));
        }
        if status == Status::StreamEnd {
            return Err(Error::Protocol("header compression ended"));
        }
        if out.len() < out.capacity() {
            if input.is_empty() {
                return Ok(out);
            }
            if taken == 0 && out.len() == length {
                return Err(Error::Protocol("header block is not valid zlib"));
            }
        }
        out.reserve(STEP_BYTES);
    }
}

/// The checksum by which zlib names a dictionary.
fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1u32, 0u32), |(low, high), &byte| {
        let low = (low + u32::from(byte)) % 65521;
        (low, (high + low) % 65521)
    });
    (high << 16) | low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn port_forward(kind: &str) -> Headers {
        Headers::default().with("streamType", kind).with("port", "8080").with("requestID", "0")
    }

    #[test]
    fn the_dictionary_is_the_protocols() {
        assert_eq!(DICTIONARY.len(), 1423);
        assert_eq!(adler32(&DICTIONARY), 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_of_zlib_itself_are_read() {
        // Made with zlib 1.2.13, deflateSetDictionary, level 9, a sync flush after each block.
        let first = "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c06\
                     00000000ffff";
        let second = "c2aa19540e2512d60b000000ffff";
        let mut decompressor = Decompressor::default();
        assert_eq!(decompressor.decode(&hex(first)).expect("first block"), port_forward("error"));
        assert_eq!(decompressor.decode(&hex(second)).expect("second block"), port_forward("data"));
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn a_stream_without_the_dictionary_is_read() {
        let mut deflate = Compress::new(Compression::best(), true);
        let mut block = Vec::with_capacity(1024);
        deflate.compress_vec(&port_forward("data").to_bytes(), &mut block, FlushCompress::Sync).expect("compresses");
        assert_eq!(Decompressor::default().decode(&block).expect("block"), port_forward("data"));
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut compressor = Compressor::new();
        let mut block = BytesMut::new();
        let headers = Headers::default().with("streamtype", "x".repeat(MAX_BLOCK_BYTES));
        compressor.encode(&headers, &mut block).expect("compresses");
        assert!(block.len() < 4096);
        let error = Decompressor::default().decode(&block).expect_err("too large");
        assert_eq!(error.to_string(), "SPDY protocol error: header block is too large");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_list_comes_back(lists in prop::collection::vec(
            prop::collection::vec(("[a-z-]{1,20}", "\\PC{0,2000}"), 0..8), 1..6,
        )) {
            let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::default());
            for list in lists {
                let headers = Headers(list);
                let mut block = BytesMut::new();
                compressor.encode(&headers, &mut block).expect("compresses");
                if headers.to_bytes().len() > MAX_BLOCK_BYTES {
                    prop_assert!(decompressor.decode(&block).is_err());
                    break;
                }
                prop_assert_eq!(decompressor.decode(&block).expect("decodes"), headers);
            }
        }

        #[test]
        fn random_blocks_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), primed: bool) {
            let mut decompressor = Decompressor::default();
            if primed {
                let mut block = BytesMut::new();
                Compressor::new().encode(&Headers::default(), &mut block).expect("compresses");
                decompressor.decode(&block).expect("primes");
            }
            let _ = decompressor.decode(&bytes);
            let _ = Headers::parse(&bytes);
        }
    }
}

//! A session: one task reads frames, one writes them, and streams are queues to and from the two.
//!
//! Always true: each queue is bounded, so a peer that sends faster than it is read is held back by TCP; the
//! number of open streams is bounded; whatever ends the session ends every stream of it, and dropping the
//! [`Session`] closes the connection.
use super::{
    Error, Headers,
    frame::{Frame, MAX_DATA_BYTES, Reader},
    goaway,
    headers::Compressor,
    reset,
};
use crate::streaming::{CREATION_TIMEOUT, activity::Activity};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The most streams open at once in one session.
pub const MAX_STREAMS: usize = 512;
/// The most pieces of data waiting to be read from one stream.
const QUEUED_PIECES: usize = 4;
/// The most frames waiting to be written, in all streams together.
const QUEUED_FRAMES: usize = 16;
/// The most streams that wait for being accepted.
const QUEUED_STREAMS: usize = 16;
/// How long closing waits for the peer to take what is left.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which end of the connection this is: clients' streams and pings have odd ids, servers' even ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

impl Role {
    fn parity(self) -> u32 {
        match self {
            Role::Client => 1,
            Role::Server => 0,
        }
    }
}

enum Event {
    Data(Bytes),
    End,
    Reset(u32),
}

struct Slot {
    events: mpsc::Sender<Event>,
    /// Told when the peer accepts the stream.
    accepted: Option<oneshot::Sender<()>>,
    /// The peer sends nothing more.
    remote_done: bool,
    /// We send nothing more.
    local_done: bool,
}

struct Shared {
    streams: Mutex<HashMap<u32, Slot>>,
    closed: CancellationToken,
    activity: Arc<Activity>,
}

impl Shared {
    /// Notes the end of one direction; a stream that ended in both is forgotten.
    fn done(&self, stream: u32, mark: impl FnOnce(&mut Slot)) {
        let mut streams = self.streams.lock();
        if let Some(slot) = streams.get_mut(&stream) {
            mark(slot);
            if slot.remote_done && slot.local_done {
                streams.remove(&stream);
            }
        }
    }
}

/// One end of a connection.
pub struct Session {
    role: Role,
    frames: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
    /// The next id to open a stream with; held while the frame is queued, since ids must grow on the wire.
    next: tokio::sync::Mutex<u32>,
    _close: DropGuard,
}

impl Session {
    /// Starts the session's tasks. The receiver yields the streams that the peer opens.
    pub fn start<IO>(io: IO, role: Role, activity: Arc<Activity>) -> (Session, mpsc::Receiver<Stream>)
    where
        IO: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(io);
        let (frames, queue) = mpsc::channel(QUEUED_FRAMES);
        let (opened, incoming) = mpsc::channel(QUEUED_STREAMS);
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared { streams: Mutex::default(), closed: closed.clone(), activity });
        tokio::spawn(write(writer, queue, shared.clone()));
        let receiving = Receiving { role, frames: frames.clone(), shared: shared.clone(), opened, last: 0 };
        tokio::spawn(receiving.run(reader));
        let next = tokio::sync::Mutex::new(2 - role.parity());
        (Session { role, frames, shared, next, _close: closed.drop_guard() }, incoming)
    }

    /// Opens a stream and waits until the peer accepts it.
    ///
    /// # Errors
    /// The session is over, or the peer did not accept in time.
    pub async fn open(&self, headers: Headers) -> Result<(StreamWriter, StreamReader), Error> {
        let (events, queue) = mpsc::channel(QUEUED_PIECES);
        let (accepted, reply) = oneshot::channel();
        let id = {
            let mut next = self.next.lock().await;
            let id = *next;
            *next = id.checked_add(2).filter(|id| *id < 1 << 31).ok_or(Error::Closed)?;
            let slot = Slot { events, accepted: Some(accepted), remote_done: false, local_done: false };
            self.shared.streams.lock().insert(id, slot);
            let frame = Frame::SynStream { stream: id, fin: false, unidirectional: false, headers };
            self.frames.send(frame).await.map_err(|_| Error::Closed)?;
            id
        };
        let answered = async {
            // A peer may accept, send all it has and leave before we look: the stream is good then too.
            tokio::select! {
                biased;
                answer = reply => answer.map_err(|_| Error::Closed),
                () = self.shared.closed.cancelled() => Err(Error::Closed),
            }
        };
        timeout(CREATION_TIMEOUT, answered).await.map_err(|_| Error::NotAccepted)??;
        Ok(halves(id, queue, self.frames.clone(), self.shared.clone()))
    }

    /// Sends what is queued, says goodbye and closes the connection.
    pub async fn close(self) {
        let last = self.role.parity();
        let bye = Frame::GoAway { last, status: goaway::OK };
        let closing = async {
            if self.frames.send(bye).await.is_ok() {
                self.shared.closed.cancelled().await;
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
}

fn halves(
    id: u32,
    events: mpsc::Receiver<Event>,
    frames: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
) -> (StreamWriter, StreamReader) {
    (StreamWriter { id, frames, shared, finished: false }, StreamReader { events, ended: false })
}

/// A stream that the peer opened and that waits for being accepted.
pub struct Stream {
    pub id: u32,
    pub headers: Headers,
    events: mpsc::Receiver<Event>,
    frames: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
}

impl Stream {
    /// # Errors
    /// The session is over.
    pub async fn accept(self) -> Result<(StreamWriter, StreamReader), Error> {
        let reply = Frame::SynReply { stream: self.id, fin: false, headers: Headers::default() };
        self.frames.send(reply).await.map_err(|_| Error::Closed)?;
        Ok(halves(self.id, self.events, self.frames, self.shared))
    }

    pub async fn reject(self) {
        self.shared.streams.lock().remove(&self.id);
        let _ = self.frames.send(Frame::RstStream { stream: self.id, status: reset::REFUSED_STREAM }).await;
    }
}

/// What the peer sends on a stream.
pub struct StreamReader {
    events: mpsc::Receiver<Event>,
    ended: bool,
}

impl StreamReader {
    /// The next piece; `None` when the peer finished the stream. May be cancelled without loss.
    ///
    /// # Errors
    /// The stream was reset, or the session ended before it.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, Error> {
        if self.ended {
            return Ok(None);
        }
        match self.events.recv().await {
            Some(Event::Data(bytes)) => Ok(Some(bytes)),
            Some(Event::End) => {
                self.ended = true;
                Ok(None)
            }
            Some(Event::Reset(status)) => Err(Error::Reset(status)),
            None => Err(Error::Closed),
        }
    }
}

/// What we send on a stream. Dropped unfinished, it resets the stream.
pub struct StreamWriter {
    id: u32,
    frames: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
    finished: bool,
}

impl StreamWriter {
    /// Queues all of `bytes`; waits while the peer does not keep up.
    ///
    /// # Errors
    /// The session is over.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(MAX_DATA_BYTES));
            let frame = Frame::Data { stream: self.id, fin: false, bytes: piece };
            self.frames.send(frame).await.map_err(|_| Error::Closed)?;
        }
        Ok(())
    }

    /// Half-closes: nothing more is sent, reading goes on.
    ///
    /// # Errors
    /// The session is over.
    pub async fn finish(mut self) -> Result<(), Error> {
        let frame = Frame::Data { stream: self.id, fin: true, bytes: Bytes::new() };
        let sent = self.frames.send(frame).await;
        self.finished = true;
        self.shared.done(self.id, |slot| slot.local_done = true);
        sent.map_err(|_| Error::Closed)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.finished && self.shared.streams.lock().remove(&self.id).is_some() {
            // With a full queue the peer learns it from the end of the session.
            let _ = self.frames.try_send(Frame::RstStream { stream: self.id, status: reset::CANCEL });
        }
    }
}

async fn write<IO: AsyncRead + AsyncWrite>(
    mut io: WriteHalf<IO>,
    mut queue: mpsc::Receiver<Frame>,
    shared: Arc<Shared>,
) {
    let writing = async {
        let (mut compressor, mut wire) = (Compressor::new(), BytesMut::new());
        let mut batch = Vec::with_capacity(QUEUED_FRAMES);
        while queue.recv_many(&mut batch, QUEUED_FRAMES).await > 0 {
            let mut last = false;
            for frame in batch.drain(..) {
                frame.encode(&mut compressor, &mut wire)?;
                last |= matches!(frame, Frame::GoAway { .. });
            }
            io.write_all(&wire).await?;
            io.flush().await?;
            wire.clear();
            if last {
                return Ok(io.shutdown().await?);
            }
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        () = shared.closed.cancelled() => {}
        result = writing => {
            if let Err(error) = result {
                tracing::debug!(%error, "SPDY session: writing");
            }
        }
    }
    shared.closed.cancel();
}

/// The reading task's state.
struct Receiving {
    role: Role,
    frames: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
    opened: mpsc::Sender<Stream>,
    /// The last stream that the peer opened.
    last: u32,
}

impl Receiving {
    async fn run<IO: AsyncRead + AsyncWrite>(mut self, io: ReadHalf<IO>) {
        let shared = self.shared.clone();
        let reading = async {
            let mut reader = Reader::new(io);
            let error = loop {
                match reader.next().await {
                    Ok(Some(frame)) => {
                        if let Err(error) = self.handle(frame).await {
                            break error;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => break error,
                }
            };
            tracing::debug!(%error, "SPDY session: reading");
            if let Error::Protocol(_) = error {
                let bye = Frame::GoAway { last: self.last, status: goaway::PROTOCOL_ERROR };
                let goodbye = async {
                    if self.frames.send(bye).await.is_ok() {
                        self.shared.closed.cancelled().await;
                    }
                };
                let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
            }
        };
        tokio::select! {
            () = shared.closed.cancelled() => {}
            () = reading => {}
        }
        shared.closed.cancel();
        shared.streams.lock().clear();
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::SynStream { stream, fin, headers, .. } => self.opened(stream, fin, headers).await?,
            Frame::SynReply { stream, fin, .. } => {
                let accepted = self.shared.streams.lock().get_mut(&stream).and_then(|slot| slot.accepted.take());
                if let Some(accepted) = accepted {
                    let _ = accepted.send(());
                }
                if fin {
                    self.deliver(stream, Event::End).await;
                }
            }
            Frame::RstStream { stream, status } => {
                self.deliver(stream, Event::Reset(status)).await;
                self.shared.streams.lock().remove(&stream);
            }
            Frame::Data { stream, fin, bytes } => {
                self.shared.activity.touch();
                if !bytes.is_empty() {
                    self.deliver(stream, Event::Data(bytes)).await;
                }
                if fin {
                    self.deliver(stream, Event::End).await;
                }
            }
            Frame::Headers { stream, fin, .. } => {
                if fin {
                    self.deliver(stream, Event::End).await;
                }
            }
            // A peer that does not take our answers gets no more of them, rather than all of our memory.
            Frame::Ping(id) if id % 2 != self.role.parity() => {
                let _ = self.frames.try_send(Frame::Ping(id));
            }
            Frame::GoAway { .. } | Frame::Ping(_) | Frame::Settings(_) | Frame::WindowUpdate { .. } => {}
        }
        Ok(())
    }

    async fn opened(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), Error> {
        if id == 0 || id % 2 == self.role.parity() || id <= self.last {
            return Err(Error::Protocol("stream id is out of order"));
        }
        self.last = id;
        self.shared.activity.touch();
        let (events, queue) = mpsc::channel(QUEUED_PIECES);
        let full = {
            let mut streams = self.shared.streams.lock();
            let full = streams.len() >= MAX_STREAMS;
            if !full {
                streams.insert(id, Slot { events, accepted: None, remote_done: false, local_done: false });
            }
            full
        };
        let stream = Stream { id, headers, events: queue, frames: self.frames.clone(), shared: self.shared.clone() };
        if full {
            stream.reject().await;
            return Ok(());
        }
        if let Err(refused) = self.opened.send(stream).await {
            refused.0.reject().await;
            return Ok(());
        }
        if fin {
            self.deliver(id, Event::End).await;
        }
        Ok(())
    }

    /// Queues what came for a stream; for streams nobody reads (any more) it is dropped.
    async fn deliver(&self, stream: u32, event: Event) {
        let events = match self.shared.streams.lock().get(&stream) {
            Some(slot) if !slot.remote_done => slot.events.clone(),
            _ => return,
        };
        let end = !matches!(event, Event::Data(_));
        let _ = events.send(event).await;
        if end {
            self.shared.done(stream, |slot| slot.remote_done = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::spdy::headers::Decompressor;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    fn pair() -> (Session, Session, mpsc::Receiver<Stream>) {
        let (near, far) = duplex(4096);
        let (client, _) = Session::start(near, Role::Client, Arc::default());
        let (server, incoming) = Session::start(far, Role::Server, Arc::default());
        (client, server, incoming)
    }

    async fn read_all(reader: &mut StreamReader) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(bytes) = reader.recv().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn streams_carry_data_both_ways_and_half_close() {
        let (client, _server, mut incoming) = pair();
        let serving = tokio::spawn(async move {
            let stream = incoming.recv().await.expect("stream");
            assert_eq!(stream.headers.get("streamtype"), Some("stdin"));
            assert_eq!(stream.id, 1);
            let (mut writer, mut reader) = stream.accept().await.expect("accept");
            let all = read_all(&mut reader).await.expect("end of stdin");
            writer.send(all.into()).await.expect("answer");
            writer.finish().await.expect("finish");
        });
        let headers = Headers::default().with("streamtype", "stdin");
        let (mut writer, mut reader) = client.open(headers).await.expect("open");
        let sent = vec![7; 300_000];
        writer.send(sent.clone().into()).await.expect("send");
        writer.finish().await.expect("finish");
        assert_eq!(read_all(&mut reader).await.expect("answer"), sent);
        serving.await.expect("server");
        assert!(client.shared.streams.lock().is_empty());
    }

    #[tokio::test]
    async fn data_before_a_reset_is_not_lost() {
        let (client, _server, mut incoming) = pair();
        let opening = tokio::spawn(async move {
            let (_writer, mut reader) = client.open(Headers::default()).await.expect("open");
            assert_eq!(reader.recv().await.expect("data").as_deref(), Some(&b"status"[..]));
            assert!(matches!(reader.recv().await, Err(Error::Reset(reset::CANCEL))));
            let (_writer, mut reader) = client.open(Headers::default()).await.expect("another");
            assert!(matches!(reader.recv().await, Err(Error::Closed)));
        });
        let (mut writer, _reader) = incoming.recv().await.expect("stream").accept().await.expect("accept");
        writer.send(Bytes::from_static(b"status")).await.expect("send");
        drop(writer);
        let _second = incoming.recv().await.expect("stream").accept().await.expect("accept");
        _server.close().await;
        opening.await.expect("client");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_not_accepted_times_out() {
        let (client, _server, _incoming) = pair();
        assert!(matches!(client.open(Headers::default()).await, Err(Error::NotAccepted)));
    }

    async fn hostile(frames: &[Frame]) -> (DuplexStream, Session, mpsc::Receiver<Stream>) {
        let (mut near, far) = duplex(1 << 20);
        let (server, incoming) = Session::start(far, Role::Server, Arc::default());
        let (mut compressor, mut wire) = (Compressor::new(), BytesMut::new());
        for frame in frames {
            frame.encode(&mut compressor, &mut wire).expect("encodes");
        }
        near.write_all(&wire).await.expect("write");
        (near, server, incoming)
    }

    fn syn(stream: u32) -> Frame {
        Frame::SynStream { stream, fin: false, unidirectional: false, headers: Headers::default() }
    }

    #[tokio::test]
    async fn ids_out_of_order_end_the_session() {
        for frames in [vec![syn(2)], vec![syn(3), syn(1)], vec![syn(3), syn(3)], vec![syn(0)]] {
            let (near, _server, _incoming) = hostile(&frames).await;
            let mut reader = Reader::new(near);
            let frame = reader.next().await.expect("valid").expect("goodbye");
            assert!(matches!(frame, Frame::GoAway { status: goaway::PROTOCOL_ERROR, .. }), "{frame:?}");
            assert!(reader.next().await.expect("closed").is_none());
        }
    }

    #[tokio::test]
    async fn pings_are_answered_and_unknown_streams_ignored() {
        let data = Frame::Data { stream: 99, fin: true, bytes: Bytes::from_static(b"x") };
        let reset = Frame::RstStream { stream: 5, status: 1 };
        let (near, _server, _incoming) = hostile(&[data, reset, Frame::Ping(2), Frame::Ping(3)]).await;
        let mut reader = Reader::new(near);
        assert_eq!(reader.next().await.expect("valid"), Some(Frame::Ping(3)));
    }

    #[tokio::test]
    async fn too_many_streams_are_refused() {
        let frames: Vec<Frame> = (0..=MAX_STREAMS as u32).map(|i| syn(2 * i + 1)).collect();
        let (near, _server, mut incoming) = hostile(&frames).await;
        tokio::spawn(async move { while incoming.recv().await.is_some() {} });
        let mut reader = Reader::new(near);
        let refused = Frame::RstStream { stream: 2 * MAX_STREAMS as u32 + 1, status: reset::REFUSED_STREAM };
        assert_eq!(reader.next().await.expect("valid"), Some(refused));
    }

    #[tokio::test]
    async fn dropping_the_session_closes_the_connection() {
        let (mut near, server, _incoming) = hostile(&[]).await;
        drop(server);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.expect("closed");
        assert!(rest.is_empty());
        let _ = Decompressor::default();
    }
}

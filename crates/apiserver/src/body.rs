//! Request and response bodies.
//!
//! A response is bytes known in full, bytes produced piece by piece (lists), a stream that follows
//! the cache (watches), or one that comes from a node (logs, proxied requests). Whatever is produced
//! on demand is pulled by the connection, so a slow client holds back its own response and nobody's memory.
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A producer of body pieces, polled by the connection; `None` ends the body.
pub trait Pieces: Send {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>>;
}

pub enum Body {
    Full(Option<Bytes>),
    Pieces(Box<dyn Pieces>),
    /// A response that comes from another server.
    Relayed(hyper::body::Incoming),
}

impl Body {
    pub fn empty() -> Self {
        Body::Full(None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Pieces(pieces) => pieces.poll_piece(cx).map_ok(Frame::data),
            Body::Relayed(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Pieces(_) => false,
            Body::Relayed(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::Pieces(_) => SizeHint::default(),
            Body::Relayed(incoming) => incoming.size_hint(),
        }
    }
}

/// A request's body: from the network, or from a client in this process.
pub enum RequestBody {
    Network(hyper::body::Incoming),
    InProcess(kube::client::Body),
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            RequestBody::Network(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            RequestBody::InProcess(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Network(body) => body.is_end_stream(),
            RequestBody::InProcess(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Network(body) => body.size_hint(),
            RequestBody::InProcess(body) => body.size_hint(),
        }
    }
}

/// Reads a request's body, never more than [`crate::limits::BODY_BYTES`].
///
/// # Errors
/// 413 when it is larger, 400 when the client stops in the middle of it.
pub async fn read(mut body: RequestBody) -> Result<Bytes, apimachinery::ApiError> {
    use crate::limits;
    use apimachinery::ApiError;
    use http_body_util::BodyExt;
    if http_body::Body::size_hint(&body).lower() > limits::BODY_BYTES as u64 {
        return Err(too_large(body).await);
    }
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("unable to read the request body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limits::BODY_BYTES {
            return Err(too_large(body).await);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(first.len() + data.len());
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// Takes and forgets more of the body, up to a bound: an HTTP/2 client whose upload is cut off does not see the answer.
async fn too_large(mut body: RequestBody) -> apimachinery::ApiError {
    use crate::limits;
    use http_body_util::BodyExt;
    let mut left = limits::BODY_DISCARD_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            break;
        }
    }
    apimachinery::ApiError::too_large(limits::BODY_TOO_LARGE)
}

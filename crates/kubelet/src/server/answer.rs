//! Answers: text, JSON, and bodies that are still being written.
use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde::Serialize;
use tokio::sync::mpsc;

pub type Body = UnsyncBoxBody<Bytes, Infallible>;
pub type Answer = Response<Body>;

pub const TEXT: &str = "text/plain; charset=utf-8";
pub const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    of(status, TEXT, body.into())
}

pub fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => of(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The runtime's refusal, with the status that upstream's streaming server gives it.
pub fn runtime(error: &cri::Error) -> Answer {
    let status = match error.code() {
        Some(cri::Code::NotFound) => StatusCode::NOT_FOUND,
        Some(cri::Code::ResourceExhausted) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, error.to_string())
}

/// 200, with a body that lasts as long as someone sends.
pub fn stream(receiver: mpsc::Receiver<Bytes>) -> Answer {
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
    });
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    answer
}

/// An answer of the streaming module.
pub fn relayed(answer: Response<Full<Bytes>>) -> Answer {
    answer.map(|body| body.boxed_unsync())
}

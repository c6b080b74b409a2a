//! Small requests to the API server: JSON out, a status back.
//!
//! Answers are read only when they say something went wrong, or when the caller wants the object.
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", client::told(.0))]
    Transport(#[from] kube::Error),
    #[error("{message}")]
    Status { code: StatusCode, reason: String, message: String },
    #[error("reading the answer: {0}")]
    Body(String),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

impl Error {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Status { code: StatusCode::NOT_FOUND, .. })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
}

async fn send(
    client: &kube::Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: Option<&impl Serialize>,
) -> Result<http::Response<Body>, Error> {
    let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, content_type).body(bytes.into())?;
    let response = client.send(request).await?;
    let code = response.status();
    if code.is_success() {
        return Ok(response);
    }
    let body = collect(response).await?;
    let status: Status = serde_json::from_slice(&body).unwrap_or_default();
    let message = if status.message.is_empty() { String::from_utf8_lossy(&body).into_owned() } else { status.message };
    Err(Error::Status { code, reason: status.reason, message })
}

async fn collect(response: http::Response<Body>) -> Result<bytes::Bytes, Error> {
    let body = response.into_body().collect().await.map_err(|error| Error::Body(error.to_string()))?;
    Ok(body.to_bytes())
}

/// # Errors
/// The server cannot be reached or refuses.
pub async fn post(client: &kube::Client, path: &str, body: &impl Serialize) -> Result<(), Error> {
    let response = send(client, Method::POST, path, "application/json", Some(body)).await?;
    // Read to the end, so that the connection can be used again.
    collect(response).await.map(|_| ())
}

/// As [`post`], with what the server answers.
///
/// # Errors
/// As [`post`], or what comes back is not a `T`.
pub async fn create<T: DeserializeOwned>(client: &kube::Client, path: &str, body: &impl Serialize) -> Result<T, Error> {
    let response = send(client, Method::POST, path, "application/json", Some(body)).await?;
    Ok(serde_json::from_slice(&collect(response).await?)?)
}

/// # Errors
/// As [`post`].
pub async fn merge_patch(client: &kube::Client, path: &str, body: &impl Serialize) -> Result<(), Error> {
    let response = send(client, Method::PATCH, path, "application/merge-patch+json", Some(body)).await?;
    collect(response).await.map(|_| ())
}

/// # Errors
/// As [`post`].
pub async fn strategic_patch(client: &kube::Client, path: &str, body: &impl Serialize) -> Result<(), Error> {
    let content_type = "application/strategic-merge-patch+json";
    let response = send(client, Method::PATCH, path, content_type, Some(body)).await?;
    collect(response).await.map(|_| ())
}

/// # Errors
/// As [`post`].
pub async fn delete(client: &kube::Client, path: &str, options: &impl Serialize) -> Result<(), Error> {
    let response = send(client, Method::DELETE, path, "application/json", Some(options)).await?;
    collect(response).await.map(|_| ())
}

/// # Errors
/// As [`post`], or what comes back is not a `T`.
pub async fn get<T: DeserializeOwned>(client: &kube::Client, path: &str) -> Result<T, Error> {
    let response = send(client, Method::GET, path, "application/json", None::<&()>).await?;
    Ok(serde_json::from_slice(&collect(response).await?)?)
}

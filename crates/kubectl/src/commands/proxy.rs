//! `kubectl proxy`: the API on a local port, with our credentials. HTTP/1.1, one request a connection.
use super::Command;
use crate::{Context, Error, Result, select::text};
use async_trait::async_trait;
use clap::{Arg, ArgMatches, Command as Words};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub struct Proxy;

const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Connections served at once.
const MAX_CONNECTIONS: usize = 64;

#[async_trait]
impl Command for Proxy {
    fn words(&self) -> Words {
        Words::new("proxy")
            .about("Run a proxy to the Kubernetes API server")
            .arg(
                Arg::new("port")
                    .short('p')
                    .long("port")
                    .value_parser(clap::value_parser!(u16))
                    .default_value("8001")
                    .help("The port on which to run the proxy. Set to 0 to pick a random port."),
            )
            .arg(
                Arg::new("address")
                    .long("address")
                    .default_value("127.0.0.1")
                    .help("The IP address on which to serve on. Only loopback addresses are supported."),
            )
    }

    async fn run(&self, context: &Context, matches: &ArgMatches) -> Result<()> {
        let address: std::net::IpAddr =
            text(matches, "address").parse().map_err(|e| Error::message(format!("--address: {e}")))?;
        if !address.is_loopback() {
            return Err(Error::message("proxy --address: other addresses than loopback are not implemented"));
        }
        let port = matches.get_one::<u16>("port").copied().unwrap_or(8001);
        let client = context.client().await?;
        let listener = TcpListener::bind((address, port)).await?;
        context.line(format!("Starting to serve on {}", listener.local_addr()?))?;
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
        loop {
            let (connection, _) = listener.accept().await?;
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            let client = client.clone();
            tokio::spawn(async move {
                if let Err(error) = serve(connection, client).await {
                    eprintln!("{}", error.text());
                }
                drop(place);
            });
        }
    }
}

async fn serve(mut connection: TcpStream, client: kube::Client) -> Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if read.len() > MAX_HEAD_BYTES || connection.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(&str, &str)> =
        lines.filter_map(|l| l.split_once(':')).map(|(k, v)| (k.trim(), v.trim())).collect();
    let header = |name: &str| headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| *v);
    // A page of another origin must not use our credentials through its visitor's browser.
    let host = header("host").unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    if !["localhost", "127.0.0.1", "[::1]"].contains(&host) {
        return answer(&mut connection, 403, "text/plain", b"Forbidden").await;
    }
    if !path.starts_with('/') || header("transfer-encoding").is_some() || header("upgrade").is_some() {
        return answer(&mut connection, 501, "text/plain", b"kubectl proxy: not implemented").await;
    }
    let length: usize = header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    if length > MAX_BODY_BYTES {
        return answer(&mut connection, 413, "text/plain", b"too large").await;
    }
    let mut body = read.split_off(end + 4);
    while body.len() < length {
        if connection.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    let mut request = http::Request::builder().method(method).uri(path);
    for name in ["accept", "content-type"] {
        if let Some(value) = header(name) {
            request = request.header(name, value);
        }
    }
    let Ok(request) = request.body(Body::from(body)) else {
        return answer(&mut connection, 400, "text/plain", b"Bad Request").await;
    };
    let mut response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => return answer(&mut connection, 502, "text/plain", error.to_string().as_bytes()).await,
    };
    let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("text/plain").to_owned();
    let status = response.status().as_u16();
    connection
        .write_all(format!("HTTP/1.1 {status} \r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    // Watches go on: each piece is passed on as it comes.
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.map_err(|e| Error::message(e.to_string()))?;
        if let Ok(data) = frame.into_data() {
            connection.write_all(&data).await?;
        }
    }
    Ok(())
}

async fn answer(connection: &mut TcpStream, status: u16, kind: &str, body: &[u8]) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status} \r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    Ok(connection.write_all(body).await?)
}

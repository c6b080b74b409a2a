//! Names that are not ours are asked of the servers the machine itself uses.
use crate::{Error, Flags};
use hickory_proto::op::Message;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions under way at once; more are answered "try again" (SERVFAIL).
const MAX_CONCURRENT: usize = 1000;
const MAX_UDP_BYTES: usize = 4096;
const MAX_UPSTREAMS: usize = 3;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The servers to ask: those of the flags, or the machine's own; never ourselves.
pub(crate) fn upstreams(flags: &Flags, own: SocketAddr) -> Result<Vec<SocketAddr>, Error> {
    let found = if flags.upstream.is_empty() {
        match fs::read_to_string(RESOLV_CONF) {
            Ok(text) => nameservers(&text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::File { path: RESOLV_CONF.into(), source }),
        }
    } else {
        flags.upstream.clone()
    };
    Ok(found.into_iter().filter(|&server| server != own).take(MAX_UPSTREAMS).collect())
}

fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|rest| rest.trim().parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53)).collect()
}

pub(crate) struct Forwarder {
    upstreams: Vec<SocketAddr>,
    slots: Semaphore,
}

impl Forwarder {
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Forwarder { upstreams, slots: Semaphore::new(MAX_CONCURRENT) }
    }

    /// The first server's answer; `None` when none answers in time.
    pub async fn ask(&self, question: &[u8], over_tcp: bool) -> Option<Message> {
        let _slot = self.slots.try_acquire().ok()?;
        for &server in &self.upstreams {
            let attempt = async { if over_tcp { tcp(server, question).await } else { udp(server, question).await } };
            match timeout(ATTEMPT_TIMEOUT, attempt).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "forwarding"),
                Err(_) => tracing::debug!(%server, "forwarding: no answer in time"),
            }
        }
        None
    }
}

fn parse(bytes: &[u8]) -> io::Result<Message> {
    Message::from_vec(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

async fn udp(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A fresh port each time makes forged answers hard to guess; `connect` drops other senders'.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = [0_u8; MAX_UDP_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        if length >= 12 && answer.get(..2) == question.get(..2) {
            return parse(answer);
        }
    }
}

async fn tcp(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    parse(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let text = "# comment\nsearch example.com\nnameserver 192.0.2.53\n nameserver fd00::53 \nnameserver none\n";
        let want: Vec<SocketAddr> =
            ["192.0.2.53:53", "[fd00::53]:53"].iter().map(|a| a.parse().expect("address")).collect();
        assert_eq!(nameservers(text), want);
    }
}

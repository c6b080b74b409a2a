//! Accepting TLS connections, with a word to those who meant to speak plain HTTP.
use std::{io, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a plain request is answered with, to the letter what Go's servers answer.
const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// The beginnings that Go takes for HTTP (`tlsRecordHeaderLooksLikeHTTP`), as long as the header of a TLS record.
const BEGINNINGS: [&[u8; 5]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// Until the rest of a beginning that came in pieces is looked for again.
const PIECES: Duration = Duration::from_millis(20);

/// Shakes hands. Who speaks plain HTTP instead is told what is wrong. The caller bounds the time.
///
/// # Errors
/// The connection broke, the handshake failed, or it was plain HTTP.
pub async fn accept(acceptor: &TlsAcceptor, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    if is_plain_http(&stream).await? {
        // A close over unread bytes would be a reset, which may overtake the answer.
        let mut unread = vec![0; 4096];
        while stream.try_read(&mut unread).is_ok_and(|n| n > 0) {}
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "client sent an HTTP request to an HTTPS server"));
    }
    let accepted = acceptor.accept(stream).await?;
    // The client's last message is not answered, as there are no tickets. One that waits with small messages until the
    // last was acknowledged (Nagle: hyper's clients do, unless told otherwise) would wait for 40 ms with its request.
    accepted.get_ref().0.set_quickack(true)?;
    Ok(accepted)
}

/// Looks at the first bytes and leaves them where they are.
async fn is_plain_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 5];
    loop {
        let came = stream.peek(&mut first).await?;
        let begins = |beginning: &&[u8; 5]| beginning.starts_with(&first[..came]);
        if came == 0 || !BEGINNINGS.iter().any(begins) {
            return Ok(false);
        }
        if came == first.len() {
            return Ok(true);
        }
        // Peeking returns at once for as long as anything is there.
        tokio::time::sleep(PIECES).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tls;
    use std::sync::Arc;
    use tokio::{io::AsyncReadExt, net::TcpListener};
    use tokio_rustls::TlsConnector;

    fn pair() -> crate::Pair {
        let request = crate::Request {
            common_name: "server".into(),
            organizations: Vec::new(),
            dns: vec!["localhost".into()],
            ips: Vec::new(),
            usage: crate::Usage { server: true, client: false },
            days: 1,
        };
        crate::self_signed(&request).unwrap()
    }

    /// A client's end, and what accepting the other end comes to: what the client said through TLS.
    async fn serve(pair: &crate::Pair) -> (TcpStream, tokio::task::JoinHandle<io::Result<String>>) {
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&pair.cert_pem, &pair.key_pem, None).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let accepted = tokio::spawn(async move {
            let mut said = String::new();
            accept(&acceptor, server).await?.read_to_string(&mut said).await?;
            Ok(said)
        });
        (client, accepted)
    }

    #[tokio::test]
    async fn plain_http_is_answered_and_nothing_else_is() {
        let pair = pair();
        let table: [(&[&str], bool); 8] = [
            (&["GET / HTTP/1.1\r\nHost: a\r\n\r\n"], true),
            (&["HEAD / HTTP/1.1\r\n\r\n"], true),
            (&["POST /api HTTP/1.1\r\n\r\n"], true),
            (&["PUT /api HTTP/1.1\r\n\r\n"], true),
            (&["OPTIONS * HTTP/1.1\r\n\r\n"], true),
            (&["G", "ET", " /version HTTP/1.1\r\n\r\n"], true),
            (&["GET x HTTP/1.1\r\n\r\n"], false),
            (&["DELETE / HTTP/1.1\r\n\r\n"], false),
        ];
        for (pieces, is_told) in table {
            let (mut client, accepted) = serve(&pair).await;
            client.set_nodelay(true).unwrap();
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            if !is_told {
                client.shutdown().await.unwrap();
            }
            assert!(accepted.await.unwrap().is_err(), "{pieces:?}");
            let mut answer = Vec::new();
            // A failed handshake may end in a reset.
            let _ = client.read_to_end(&mut answer).await;
            assert_eq!(answer == ANSWER, is_told, "{pieces:?}: {}", String::from_utf8_lossy(&answer));
        }
    }

    #[tokio::test]
    async fn tls_goes_on_unharmed() {
        let pair = pair();
        let (client, accepted) = serve(&pair).await;
        let connector = TlsConnector::from(Arc::new(tls::client_config(&pair.cert_pem, None).unwrap()));
        let mut client = connector.connect("localhost".try_into().unwrap(), client).await.unwrap();
        client.write_all(b"GET / over TLS").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(accepted.await.unwrap().unwrap(), "GET / over TLS");
    }

    #[tokio::test]
    async fn the_end_of_the_handshake_is_acknowledged_at_once() {
        let pair = pair();
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&pair.cert_pem, &pair.key_pem, None).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = TlsConnector::from(Arc::new(tls::client_config(&pair.cert_pem, None).unwrap()));
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (client, server) = (client.unwrap(), server.unwrap().0);
        let handshakes =
            tokio::join!(connector.connect("localhost".try_into().unwrap(), client), accept(&acceptor, server));
        assert!(handshakes.1.unwrap().get_ref().0.quickack().unwrap());
        handshakes.0.unwrap();
    }
}

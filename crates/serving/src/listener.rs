//! Accepting connections: no more than a limit at a time, until shutdown.
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};
use tokio_util::sync::CancellationToken;

/// Pause after a failure to accept: out of descriptors or the like.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs `handle` for each connection, in a task of its own that ends with `shutdown`. One more than `limit` is closed.
pub async fn accept<F>(
    listener: TcpListener,
    limit: usize,
    shutdown: CancellationToken,
    handle: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(limit));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(limit, %peer, "too many connections, refusing one");
            continue;
        };
        let (serving, shutdown) = (handle(stream), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! { () = shutdown.cancelled() => {}, () = serving => {} }
            drop(slot);
        });
    }
}

/// Returns when `first` was not told of a request within `limit`: who says nothing must not keep a place. The bound on
/// HTTP/1 headers begins only once it is known that HTTP/1 is spoken.
pub async fn silent(first: &Notify, limit: Duration) {
    if tokio::time::timeout(limit, first.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn one_too_many_is_closed_and_a_place_is_given_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let echo = |mut stream: TcpStream| async move {
            let mut byte = [0];
            while stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
                stream.write_all(&byte).await.unwrap();
            }
        };
        let accepting = tokio::spawn(accept(listener, 1, shutdown.clone(), echo));
        /// Whether a byte comes back.
        async fn answers(stream: &mut TcpStream) -> bool {
            let mut byte = [0];
            stream.write_all(b"x").await.is_ok() && stream.read(&mut byte).await.is_ok_and(|n| n == 1)
        }
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(answers(&mut first).await);
        assert!(!answers(&mut TcpStream::connect(address).await.unwrap()).await);
        assert!(answers(&mut first).await);
        drop(first);
        while !answers(&mut TcpStream::connect(address).await.unwrap()).await {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        accepting.await.unwrap();
    }
}

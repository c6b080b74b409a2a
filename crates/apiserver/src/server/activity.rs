//! How many streams of an HTTP/2 connection are open, and since when there is none.
//!
//! Without it a client that opens connections and says nothing on them keeps their places for good.
use crate::body::{Body, BoxError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

pub(super) struct Activity(Mutex<State>);

struct State {
    open: usize,
    /// When the last stream ended, or the connection was opened.
    since: Instant,
}

/// An open stream.
pub(super) struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.open = state.open.saturating_sub(1);
        state.since = Instant::now();
    }
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Activity(Mutex::new(State { open: 0, since: Instant::now() })))
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.0.lock().open += 1;
        Open(self.clone())
    }

    /// Returns once no stream has been open for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let due = {
                let state = self.0.lock();
                let since = if state.open == 0 { state.since } else { Instant::now() };
                since + limit
            };
            if Instant::now() >= due {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// A response's body; its stream is open until the last of it is sent.
pub(super) struct Counted {
    pub body: Body,
    pub _open: Open,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_is_counted_from_the_end_of_the_last_stream() {
        let limit = Duration::from_secs(90);
        let activity = Activity::new();
        let started = Instant::now();
        activity.idle_for(limit).await;
        assert_eq!(started.elapsed().as_secs(), 90);

        let stream = activity.open();
        let waiting = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle_for(limit).await }
        });
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!(!waiting.is_finished());
        drop(stream);
        let ended = Instant::now();
        waiting.await.unwrap_or_default();
        assert_eq!(ended.elapsed().as_secs(), 90);
    }
}

//! When something last went over a connection, so that one nobody uses can be closed.
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Shared by everything that moves data of one connection.
pub(super) struct Activity {
    last: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Activity {
        Activity { last: Mutex::new(Instant::now()) }
    }
}

impl Activity {
    /// Something went over the connection just now.
    pub fn touch(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Ends when nothing went over the connection for `timeout`.
    pub async fn idle(&self, timeout: Duration) {
        loop {
            let deadline = *self.last.lock() + timeout;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn activity_puts_the_end_off() {
        let (start, activity) = (Instant::now(), Activity::default());
        let touching = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            activity.touch();
        };
        tokio::join!(touching, activity.idle(Duration::from_secs(60)));
        assert_eq!(start.elapsed(), Duration::from_secs(110));
    }
}

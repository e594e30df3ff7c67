//! What a build says while it runs, for those who wait for it. Nobody has to listen, and who listens slowly misses lines.

use tokio::sync::{broadcast, mpsc};

/// Lines that wait for a listener.
const LINES_WAITING_MAX: usize = 64;
/// Longest line that is passed on, characters.
const LINE_CHARS_MAX: usize = 200;

tokio::task_local! {
    /// Whom the task tells that waits for an environment.
    static LISTENER: mpsc::Sender<String>;
}

/// Runs `work`, and tells `listener` what the builds say that it waits for.
pub async fn listened_to<T>(listener: mpsc::Sender<String>, work: impl Future<Output = T>) -> T {
    LISTENER.scope(listener, work).await
}

/// Where a build says what it does.
#[derive(Debug, Clone)]
pub(super) struct News(broadcast::Sender<String>);

impl Default for News {
    fn default() -> Self {
        Self(broadcast::Sender::new(LINES_WAITING_MAX))
    }
}

impl News {
    /// Says a line to whoever listens.
    pub(super) fn say(&self, line: &str) {
        let line = line.trim_end();
        if !line.trim().is_empty() {
            // Usually nobody listens.
            let _ = self.0.send(line.chars().take(LINE_CHARS_MAX).collect());
        }
    }

    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Runs `work`, and passes on what is said meanwhile when somebody listens to this task.
    pub(super) async fn passed_on<T>(&self, work: impl Future<Output = T>) -> T {
        let Ok(listener) = LISTENER.try_with(mpsc::Sender::clone) else { return work.await };
        let mut lines = self.0.subscribe();
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                line = lines.recv() => match line {
                    // A listener that cannot keep up misses lines.
                    Ok(line) => drop(listener.try_send(line)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return work.await,
                },
                done = &mut work => {
                    while let Ok(line) = lines.try_recv() {
                        drop(listener.try_send(line));
                    }
                    return done;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_hears_what_is_said() {
        let news = News::default();
        news.say("before");
        let (listener, mut heard) = mpsc::channel(8);
        let work = async {
            news.say("one\n");
            tokio::task::yield_now().await;
            news.say("  \n");
            news.say("two");
            3
        };
        assert_eq!(listened_to(listener, news.passed_on(work)).await, 3);
        assert_eq!((heard.recv().await.as_deref(), heard.recv().await.as_deref()), (Some("one"), Some("two")));
        assert_eq!(heard.recv().await, None);
    }
}

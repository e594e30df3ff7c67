//! Several futures that are one task of the runtime.
//!
//! A call passes the lane, the stream of orders and the connection, there and back. As tasks of the runtime each of them would
//! be handed on through its queues, and a chain of a few hand-overs makes the runtime wake another thread to help: on a machine
//! with idle processors that costs more than the call. In one task they run after one another at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt, ready};
use parking_lot::Mutex;

/// Rounds in which the futures may wake each other before the runtime's other tasks have a turn. A call needs about six.
const ROUNDS_MAX: usize = 16;

/// Runs the future that `make` makes of a spawner together with what it spawns, until it is done. What was spawned and is
/// not done by then is dropped.
pub fn run<F>(make: impl FnOnce(Spawner) -> F) -> impl Future<Output = ()> + Send
where
    F: Future<Output = ()> + Send + 'static,
{
    let signal = Arc::new(Signal::default());
    let spawned = Arc::new(Mutex::new(Vec::new()));
    let main = make(Spawner { spawned: Arc::clone(&spawned), signal: Arc::clone(&signal) });
    let children: FuturesUnordered<_> = std::iter::once(main.map(|()| Role::Main).boxed()).collect();
    Nursery { children, spawned, waker: Waker::from(Arc::clone(&signal)), signal }
}

/// Gives futures to a nursery.
#[derive(Clone)]
pub struct Spawner {
    spawned: Arc<Mutex<Vec<BoxFuture<'static, Role>>>>,
    signal: Arc<Signal>,
}

impl Spawner {
    /// Runs `future` along with the nursery's main future, and not longer.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.spawned.lock().push(future.map(|()| Role::Child).boxed());
        self.signal.wake_by_ref();
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future.map(drop));
    }
}

/// Whose end is the end of all.
enum Role {
    Main,
    Child,
}

struct Nursery {
    children: FuturesUnordered<BoxFuture<'static, Role>>,
    spawned: Arc<Mutex<Vec<BoxFuture<'static, Role>>>>,
    signal: Arc<Signal>,
    /// Wakes `signal`.
    waker: Waker,
}

impl Nursery {
    /// Polls whoever was woken, until nobody is or the main future is done.
    fn round(&mut self) -> Poll<()> {
        self.children.extend(self.spawned.lock().drain(..));
        let mut context = Context::from_waker(&self.waker);
        loop {
            match ready!(self.children.poll_next_unpin(&mut context)) {
                Some(Role::Child) => {}
                Some(Role::Main) | None => return Poll::Ready(()),
            }
        }
    }
}

impl Future for Nursery {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.signal.task.register(context.waker());
        for _ in 0..ROUNDS_MAX {
            self.signal.begin();
            if self.round().is_ready() {
                return Poll::Ready(());
            }
            if self.signal.end() {
                return Poll::Pending;
            }
        }
        self.signal.state.store(WOKEN, Ordering::SeqCst);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Nobody looks at the futures, and nobody has to.
const ASLEEP: u8 = 0;
/// The futures are being polled.
const POLLING: u8 = 1;
/// A future has to be polled (again).
const WOKEN: u8 = 2;

/// Wakes the task, unless it is awake and will look by itself.
struct Signal {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Default for Signal {
    fn default() -> Self {
        // The runtime polls a new task without being asked.
        Self { state: AtomicU8::new(WOKEN), task: AtomicWaker::new() }
    }
}

impl Signal {
    fn begin(&self) {
        self.state.store(POLLING, Ordering::SeqCst);
    }

    /// Whether nothing was woken since [`Self::begin`].
    fn end(&self) -> bool {
        self.state.compare_exchange(POLLING, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::SeqCst) == ASLEEP {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn futures_of_one_nursery_talk_to_each_other_and_to_the_world() {
        let (answer_tx, answer) = oneshot::channel();
        let (questions, mut asked) = mpsc::channel::<u32>(1);
        let nursery = TaskTracker::new().spawn(run(|spawner| async move {
            let (echo_tx, mut echo) = mpsc::channel(1);
            spawner.spawn(async move {
                while let Some(number) = asked.recv().await {
                    let _ = echo_tx.send(number + 1).await;
                }
            });
            let mut sum = 0;
            while let Some(number) = echo.recv().await {
                sum += number;
            }
            let _ = answer_tx.send(sum);
        }));
        for number in 0..100 {
            questions.send(number).await.unwrap();
        }
        drop(questions);
        assert_eq!(answer.await.unwrap(), 5050);
        nursery.await.unwrap();
    }

    #[tokio::test]
    async fn what_was_spawned_ends_with_the_main_future() {
        let (held, dropped) = oneshot::channel::<()>();
        run(|spawner| async move {
            spawner.spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            tokio::task::yield_now().await;
        })
        .await;
        assert!(dropped.await.is_err());
    }

    #[tokio::test]
    async fn one_that_never_rests_leaves_room_for_other_tasks() {
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let restless = TaskTracker::new().spawn(run(move |_| {
            std::future::poll_fn(move |context| {
                counted.fetch_add(1, Ordering::Relaxed);
                context.waker().wake_by_ref();
                Poll::Pending
            })
        }));
        while rounds.load(Ordering::Relaxed) < 10 * ROUNDS_MAX {
            tokio::task::yield_now().await;
        }
        restless.abort();
        assert!(restless.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn timers_wake_it() {
        run(|_| tokio::time::sleep(Duration::from_millis(1))).await;
    }
}

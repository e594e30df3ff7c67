//! Orders on their way to the main thread.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::gather::Order;
use crate::limits::INBOX_ORDERS_MAX;

/// The queue. The main thread waits in a system call, so that a signal wakes it too.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// The session thread writes a byte into the first end, the main thread reads it from the second. A socket wakes its
    /// reader on the processor that the writer is about to leave; an event counter was seen to wake it on a sleeping one.
    wake: (UnixStream, UnixStream),
    space: Notify,
}

#[derive(Debug, Default)]
struct State {
    orders: VecDeque<Order>,
    waiting: bool,
}

impl Inbox {
    /// An empty queue.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { state: Mutex::default(), wake: UnixStream::pair()?, space: Notify::new() })
    }

    /// Adds an order.
    pub(crate) fn push(&self, order: Order) {
        let waiting = {
            let mut state = self.state.lock();
            state.orders.push_back(order);
            std::mem::take(&mut state.waiting)
        };
        if waiting {
            // Each byte is read before the next one is asked for, so there is room.
            let _ = (&self.wake.0).write_all(&[1]);
        }
    }

    /// Whether nothing more should be read from the session.
    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().orders.len() >= INBOX_ORDERS_MAX
    }

    /// Resolves when an order was taken from a full queue.
    pub(crate) async fn until_space(&self) {
        self.space.notified().await;
    }

    /// Waits for the next order; `None` when a signal came first.
    pub(crate) fn pop(&self) -> Option<Order> {
        loop {
            {
                let mut state = self.state.lock();
                if state.orders.len() >= INBOX_ORDERS_MAX {
                    self.space.notify_one();
                }
                if let Some(order) = state.orders.pop_front() {
                    state.waiting = false;
                    return Some(order);
                }
                state.waiting = true;
            }
            // One system call, so that a signal ends the wait.
            match (&self.wake.1).read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => return None,
                _ => {}
            }
        }
    }
}

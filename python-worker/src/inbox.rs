//! Orders on their way to the main thread.

use std::collections::VecDeque;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::gather::Order;
use crate::limits::INBOX_ORDERS_MAX;

/// The queue. The main thread waits in a system call, so that a signal wakes it too.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: EventFd,
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
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self { state: Mutex::default(), wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?, space: Notify::new() })
    }

    /// Adds an order.
    pub(crate) fn push(&self, order: Order) {
        let waiting = {
            let mut state = self.state.lock();
            state.orders.push_back(order);
            std::mem::take(&mut state.waiting)
        };
        if waiting {
            // It can only fail when the counter is full, and then the main thread wakes anyway.
            let _ = self.wake.write(1);
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
            if self.wake.read() == Err(Errno::EINTR) {
                return None;
            }
        }
    }
}

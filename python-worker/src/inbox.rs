//! Orders on their way to the main thread.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::gather::Order;
use crate::limits::INBOX_ORDERS_MAX;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    orders: Mutex<VecDeque<Order>>,
    arrived: Notify,
    space: Notify,
}

impl Inbox {
    /// Adds an order.
    pub(crate) fn push(&self, order: Order) {
        self.orders.lock().push_back(order);
        self.arrived.notify_one();
    }

    /// Whether nothing more should be read from the session.
    pub(crate) fn is_full(&self) -> bool {
        self.orders.lock().len() >= INBOX_ORDERS_MAX
    }

    /// Resolves when an order was taken from a full queue.
    pub(crate) async fn until_space(&self) {
        self.space.notified().await;
    }

    /// Waits for the next order. Cancel safe.
    pub(crate) async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.take() {
                return order;
            }
            self.arrived.notified().await;
        }
    }

    fn take(&self) -> Option<Order> {
        let mut orders = self.orders.lock();
        if orders.len() >= INBOX_ORDERS_MAX {
            self.space.notify_one();
        }
        orders.pop_front()
    }
}

/// Tells the main thread, while it drives the session, of signals that have a handler in Python: the interpreter writes
/// a byte for each to the descriptor of `signal.set_wakeup_fd`.
#[derive(Debug)]
pub(crate) struct SignalBell {
    told: UnixStream,
    /// Kept open for the interpreter.
    tell: StdUnixStream,
}

impl SignalBell {
    /// A bell. To be called while a runtime is entered.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (told, tell) = StdUnixStream::pair()?;
        told.set_nonblocking(true)?;
        // The interpreter writes from a signal handler, which must not wait.
        tell.set_nonblocking(true)?;
        Ok(Self { told: UnixStream::from_std(told)?, tell })
    }

    /// The descriptor that the interpreter writes to.
    pub(crate) fn fd(&self) -> RawFd {
        self.tell.as_raw_fd()
    }

    /// Resolves when there was a signal.
    pub(crate) async fn rung(&self) {
        let mut signals = [0; 64];
        // Neither end is closed before the process ends, so there is no other error than that nothing is there.
        while self.told.readable().await.is_ok() {
            match self.told.try_read(&mut signals) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}

//! Every limit of the worker that the runner does not set, with its reason.

use std::time::Duration;

/// Log lines that are collected before they are sent. 1024 lines a message cost half as much a line
/// as a message each.
pub const FLUSH_LINES: usize = 1024;
/// Bytes of log lines, or of writes, that are collected before they are sent.
pub const FLUSH_BYTES: usize = 64 << 10;
/// Longest time that a line stays in the worker: what a crash takes along. Fifty messages a second cost nothing that shows.
pub const FLUSH_AGE: Duration = Duration::from_millis(20);
/// Targets (invocation and database) that may collect writes at a time; one more sends them all.
pub const OPEN_BATCHES_MAX: usize = 64;
/// Bytes that may wait for the runner to read them. A plugin that is faster waits.
pub const OUTBOX_BYTES_MAX: usize = 16 << 20;
/// How often a thread that waits for room in the outbox looks for signals.
pub const ROOM_POLL: Duration = Duration::from_millis(50);
/// Orders that may wait for the main thread. Above it the session is not read, so HTTP/2 holds the
/// runner back.
pub const INBOX_ORDERS_MAX: usize = 64;
/// How often the helper looks whether the main thread is still inside the same call. The session is driven again after one
/// to two of them: a person or a ping does not notice, and a call that is shorter costs no hand-over.
pub const HELPER_LOOK: Duration = Duration::from_millis(1);
/// Looks without a change after which the helper sleeps until it is woken, so that an idle worker costs nothing.
pub const HELPER_LOOKS_MAX: u32 = 20;
/// Questions that may be under way at a time; a thread that asks one more waits.
pub const QUESTIONS_MAX: usize = 64;
/// Pause between two signals for one cancelled call. A signal that comes just before a blocking call
/// begins does not wake it, so it is repeated until the plugin has seen it.
pub const SIGNAL_REPEAT: Duration = Duration::from_millis(20);
/// Time to finish after a `Drain` that names none.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that the runner has to end its side of a session that the worker closed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the last lines of a process that ends itself to leave it. It is a matter of microseconds unless the runner is busy.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(100);
/// Time that a fact which was taken from the outbox has to get through the connection's buffers.
pub const SENT_GRACE: Duration = Duration::from_millis(2);
/// How often a worker that has nothing to do looks whether threads of the plugin have ended: they say nothing by themselves.
pub const THREADS_LOOK: Duration = Duration::from_secs(1);
/// Rows that are converted between two looks for signals: about 4 ms of work.
pub const ROWS_PER_SIGNAL_CHECK: usize = 8192;
/// Bytes of a message that are not payload: names, ids and framing.
pub const MESSAGE_OVERHEAD_BYTES: usize = 4 << 10;
/// Longest log line whatever the runner allows, so that a message of lines stays small.
pub const LOG_LINE_BYTES_CEILING: u64 = 1 << 20;
/// Bytes that the note on a cut log line may take.
pub const CUT_NOTE_BYTES: usize = 40;
/// Instructions of a filter of system calls: the kernel's own limit, `BPF_MAXINSNS`.
pub const ZYGOTE_FILTER_INSTRUCTIONS_MAX: u32 = 4096;

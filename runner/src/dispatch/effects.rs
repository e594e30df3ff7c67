//! What an invocation leaves behind when it returns normally: its writes, and how far its trigger has come.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::questions::check_target;
use crate::host::{Host, HostError, RefusedLines, Write};
use crate::journal::Record;
use crate::logs::{Level, LogWriter};
use crate::trigger::{Backoff, TriggerId};

/// Attempts to hand writes to a host that says it cannot take them now, when somebody waits for them.
const COMMIT_ATTEMPTS_MAX: u32 = 8;

/// What to commit.
pub(super) struct Effects {
    pub(super) trigger: Arc<TriggerId>,
    pub(super) invocation: Uuid,
    pub(super) default_time: DateTime<Utc>,
    pub(super) writes: Vec<(String, Bytes)>,
    /// What becomes durable along with the writes.
    pub(super) records: Vec<Record>,
}

/// How long a commit is tried again that the host cannot take now.
pub(super) enum Patience<'a> {
    /// Some attempts: somebody waits for the answer.
    Bounded,
    /// Until the trigger stops: the event waits, and nothing is lost.
    UntilStopped {
        stop: &'a CancellationToken,
        /// Told why it waits.
        waiting: &'a (dyn Fn(&HostError) + Send + Sync),
    },
}

/// Commits the writes of a call with its records in one step. As in InfluxDB 3, bad lines are logged and do not fail the
/// invocation; those for the other databases are committed.
///
/// # Errors
/// When the host could not take them now, as long as patience lasts.
pub(super) async fn commit(
    host: &Arc<dyn Host>,
    effects: Effects,
    log: &LogWriter,
    patience: Patience<'_>,
    cancel: &CancellationToken,
) -> Result<(), HostError> {
    let Effects { trigger, invocation, default_time, writes, records } = effects;
    let refused = |database: &str, reason: &dyn std::fmt::Display| {
        log.runner(Level::Error, Some(invocation), format!("error writing back lines to {database}: {reason}"));
    };
    let mut batches = by_database(&trigger, writes);
    batches.retain(|(database, _)| check_target(database).inspect_err(|error| refused(database, error)).is_ok());
    if batches.is_empty() && records.is_empty() {
        return Ok(());
    }
    let idempotency_key = invocation.to_string();
    let write =
        (!batches.is_empty()).then(|| Write { trigger, idempotency_key, batches, default_time, no_sync: false });
    match persist(host, write, records.clone(), &patience, cancel).await {
        Ok(left_out) => left_out.iter().for_each(|lines| refused(&lines.database, &lines.reason)),
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => {
            log.runner(Level::Error, Some(invocation), format!("error writing back lines: {error}"));
            // Repeating the call would write the same lines.
            persist(host, None, records, &patience, cancel).await?;
        }
    }
    Ok(())
}

async fn persist(
    host: &Arc<dyn Host>,
    write: Option<Write>,
    records: Vec<Record>,
    patience: &Patience<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<RefusedLines>, HostError> {
    let mut attempt = 1;
    loop {
        let committed = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(HostError::Unavailable("cancelled before the host had answered".to_owned())),
            committed = host.commit(write.clone(), records.clone()) => committed,
        };
        let error = match committed {
            Ok(refused) => return Ok(refused),
            Err(error) if !error.is_retryable() || cancel.is_cancelled() => return Err(error),
            Err(error) => error,
        };
        let trigger = write.as_ref().map(|write| write.trigger.to_string()).unwrap_or_default();
        tracing::warn!(trigger, attempt, "what a call left behind could not be handed to the host: {error}");
        let is_over = match patience {
            Patience::Bounded => attempt >= COMMIT_ATTEMPTS_MAX,
            Patience::UntilStopped { stop, waiting } => {
                waiting(&error);
                stop.is_cancelled()
            }
        };
        if is_over {
            return Err(error);
        }
        let wait: Duration = Backoff::RETRY.after(attempt, fastrand::f64());
        attempt = attempt.saturating_add(1);
        let stopped = async {
            match patience {
                Patience::Bounded => std::future::pending().await,
                // A stop makes the next attempt the last one, and brings it on at once.
                Patience::UntilStopped { stop, .. } => stop.cancelled().await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(error),
            () = stopped => {}
            () = sleep(wait) => {}
        }
    }
}

/// Joins the writes of each database, in the order in which the databases were first written to.
fn by_database(trigger: &TriggerId, writes: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
    let mut joined: Vec<(String, BytesMut)> = Vec::new();
    for (database, lines) in writes {
        let database = if database.is_empty() { trigger.database.clone() } else { database };
        match joined.iter_mut().find(|(name, _)| *name == database) {
            Some((_, all)) => {
                if !all.ends_with(b"\n") {
                    all.extend_from_slice(b"\n");
                }
                all.extend_from_slice(&lines);
            }
            None => joined.push((database, BytesMut::from(lines))),
        }
    }
    joined.into_iter().map(|(database, lines)| (database, lines.freeze())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_one_database_are_joined_line_by_line() {
        let lines = |text: &'static str| Bytes::from_static(text.as_bytes());
        let writes = vec![
            (String::new(), lines("a x=1")),
            ("other".to_owned(), lines("b x=1\n")),
            ("db".to_owned(), lines("c x=1")),
        ];
        let joined = by_database(&TriggerId::new("db", "t"), writes);
        assert_eq!(joined, [("db".to_owned(), lines("a x=1\nc x=1")), ("other".to_owned(), lines("b x=1\n"))]);
    }
}

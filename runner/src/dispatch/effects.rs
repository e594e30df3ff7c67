//! What an invocation leaves behind when it returns normally: its writes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::questions::check_target;
use crate::host::{Host, HostError, Write};
use crate::logs::{Level, LogWriter};
use crate::trigger::{Backoff, TriggerId};

/// Attempts to hand writes to a host that says it cannot take them now.
const COMMIT_ATTEMPTS_MAX: u32 = 8;

/// Writes to commit.
pub(super) struct Effects {
    pub(super) trigger: Arc<TriggerId>,
    pub(super) invocation: Uuid,
    pub(super) default_time: DateTime<Utc>,
    pub(super) writes: Vec<(String, Bytes)>,
}

/// Hands the writes to the host: all databases in one step, or, when the lines for one of them are bad, the others.
/// As in InfluxDB 3, bad lines are logged and do not fail the invocation.
///
/// # Errors
/// When the host could not take them now, also after several attempts.
pub(super) async fn commit(
    host: &Arc<dyn Host>,
    effects: Effects,
    log: &LogWriter,
    cancel: &CancellationToken,
) -> Result<(), HostError> {
    let Effects { trigger, invocation, default_time, writes } = effects;
    let mut batches = by_database(&trigger, writes);
    batches.retain(|(database, _)| match check_target(database) {
        Ok(()) => true,
        Err(error) => {
            log.runner(Level::Error, Some(invocation), format!("error writing back lines to {database}: {error}"));
            false
        }
    });
    if batches.is_empty() {
        return Ok(());
    }
    let write = |key: String, batches: Vec<(String, Bytes)>| Write {
        trigger: Arc::clone(&trigger),
        idempotency_key: key,
        batches,
        default_time,
        no_sync: false,
    };
    let whole = persist(host, write(invocation.to_string(), batches.clone()), cancel).await;
    match whole {
        Ok(()) => return Ok(()),
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) if batches.len() == 1 => {
            let database = batches.first().map(|(database, _)| database.as_str()).unwrap_or_default();
            log.runner(Level::Error, Some(invocation), format!("error writing back lines to {database}: {error}"));
            return Ok(());
        }
        Err(_) => {}
    }
    for (database, lines) in batches {
        let one = write(format!("{invocation}/{database}"), vec![(database.clone(), lines)]);
        match persist(host, one, cancel).await {
            Ok(()) => {}
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                log.runner(Level::Error, Some(invocation), format!("error writing back lines to {database}: {error}"))
            }
        }
    }
    Ok(())
}

async fn persist(host: &Arc<dyn Host>, write: Write, cancel: &CancellationToken) -> Result<(), HostError> {
    let mut attempt = 1;
    loop {
        let written = tokio::select! {
            written = host.write(write.clone()) => written,
            () = cancel.cancelled() => Err(HostError::Unavailable("cancelled before the host had answered".to_owned())),
        };
        let error = match written {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_retryable() || attempt >= COMMIT_ATTEMPTS_MAX {
            return Err(error);
        }
        tracing::warn!(trigger = %write.trigger, attempt, "writes could not be handed to the host: {error}");
        let wait: Duration = Backoff::RETRY.after(attempt, fastrand::f64());
        attempt += 1;
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(error),
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

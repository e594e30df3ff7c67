//! Calling a trigger with a dead letter again.

use std::sync::Arc;

use bulkhead_proto::types::v1::Failure;
use chrono::DateTime;

use super::engine::Engine;
use super::error::EngineError;
use super::runner::{Occasion, Settles};
use crate::failure::word;
use crate::journal::Letter;
use crate::supervisor::CallEvent;
use crate::trigger::TriggerKind;

/// What came of a dead letter.
#[derive(Debug)]
pub enum Replayed {
    /// The call succeeded: its writes are committed and the letter is gone.
    Done,
    /// It failed again; the letter says how.
    Failed(Failure),
}

impl Engine {
    /// Calls the trigger of a dead letter with its rows, out of turn. Lines without a time get that of the batch, and the
    /// writes are committed together with the removal of the letter.
    ///
    /// # Errors
    /// When there is no such letter, or its trigger does not run.
    pub async fn replay(&self, id: &str) -> Result<Replayed, EngineError> {
        let mut letter = self.letters().get(id)?;
        let is_enabled = self.get(&letter.trigger).is_some_and(|trigger| !trigger.definition.disabled);
        let runner = self.runner_of(&letter.trigger).filter(|it| it.definition.spec.kind() == TriggerKind::Wal);
        let runner = runner.filter(|_| is_enabled);
        let runner = runner.ok_or_else(|| EngineError::NotRunning(letter.trigger.name.clone()))?;
        let tables = self.letters().rows(id)?;
        let database = letter.trigger.database.clone();
        let occasion = Occasion {
            invocation: id.parse().map_err(|_| EngineError::LetterNotFound(id.to_owned()))?,
            event: CallEvent::Wal { database, sequence: letter.sequence, tables },
            default_time: DateTime::from_timestamp_nanos(letter.recorded_at_ns),
            settles: Settles::Letter(Arc::from(id)),
        };
        let Err(failure) = runner.invoke(&occasion, None, runner.cancel.child_token()).await.outcome else {
            self.letters().removed(&letter);
            return Ok(Replayed::Done);
        };
        letter.attempts = letter.attempts.saturating_add(1);
        letter.cause = word(failure.kind()).to_owned();
        letter.message.clone_from(&failure.message);
        letter.traceback.clone_from(&failure.traceback);
        letter.stderr_tail.clone_from(&failure.stderr_tail);
        self.update_letter(&letter).await;
        Ok(Replayed::Failed(failure))
    }

    async fn update_letter(&self, letter: &Letter) {
        let stored = match letter.record() {
            Ok(record) => super::beginnings::commit(self.host(), vec![record]).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = stored {
            tracing::warn!("dead letter {} keeps its first cause: {error}", letter.id);
        }
    }
}

//! A trigger's environment is made ready, and its host hears meanwhile how it goes.

use std::sync::Arc;

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::runner::v1::prepare_environment_response::Step;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::mpsc;
use tonic::Status;

use super::convert;
use crate::dispatch::Engine;
use crate::environment::{Environment, listened_to};
use crate::trigger::TriggerId;

/// Lines that wait for a slow client; further ones are left out.
const LINES_WAITING_MAX: usize = 64;

type Message = Result<wire::PrepareEnvironmentResponse, Status>;

/// The lines of the build, and the environment. Dropping the stream ends the work.
pub(super) fn run(engine: Arc<Engine>, id: TriggerId) -> BoxStream<'static, Message> {
    let (listener, heard) = mpsc::channel(LINES_WAITING_MAX);
    let work = listened_to(listener, async move { engine.sync(&id).await }).boxed();
    let message = |step| wire::PrepareEnvironmentResponse { step: Some(step) };
    let messages = stream::unfold((Some(work), heard), move |(work, mut heard)| async move {
        let mut work = work?;
        tokio::select! {
            biased;
            Some(line) = heard.recv() => Some((Ok(message(Step::Progress(line))), (Some(work), heard))),
            done = &mut work => {
                let last = done.map(|environment| message(Step::Environment(shown(&environment))));
                Some((last.map_err(|error| convert::status(&error)), (None, heard)))
            }
        }
    });
    messages.boxed()
}

fn shown(environment: &Environment) -> wire::Environment {
    wire::Environment {
        id: environment.id.clone(),
        python_version: environment.python_version.clone(),
        packages: environment.packages.clone(),
    }
}

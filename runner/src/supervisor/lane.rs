//! The life of one worker: a task that starts it, gives it one call after another, and buries it.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::worker::v1::Usage;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::alarm::Alarm;
use super::end::WorkerEnd;
use super::invoke::Trust;
use super::pool::{Shared, Slot};
use super::queue::{self, Next, Queued};
use super::registry::WorkerState;
use super::start::{self, Ended};
use super::succession::{Before, Succession};
use super::worker::Worker;
use super::{Call, CallCosts, CallEnd, CallResult};
use crate::session::Step;
use crate::session::nursery::Spawner;

/// A call on its way to a lane.
pub(super) struct Job {
    /// By what its caller finds it in the queue.
    pub(super) ticket: u64,
    pub(super) call: Call,
    pub(super) reply: oneshot::Sender<Reply>,
    /// Since when its caller waits.
    pub(super) asked: Instant,
}

/// What a caller hears.
pub(super) enum Reply {
    Done(CallResult),
    /// The lane that it waited for is gone; nothing was done.
    AskAgain(Call),
}

impl Job {
    /// Tells the caller that its lane is gone, before anything was done.
    pub(super) fn ask_again(self) {
        // A caller that went away asks nobody.
        let _ = self.reply.send(Reply::AskAgain(self.call));
    }
}

impl Queued for Job {
    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Runs one worker from its first job to its end.
pub(super) async fn run(slot: Slot, first: Job, nursery: Spawner) {
    let shared = Arc::clone(slot.shared());
    let (mut current, mut taken) = (first, Instant::now());
    let mut worker = match start::start_in_ground(&shared, &nursery, false, &current.call.cancel).await {
        Ok(worker) => worker,
        Err(failure) => return not_started(&shared, Caller::of(current, taken), failure, taken.elapsed()),
    };
    let mut succession = Succession::new(&shared, &nursery, &worker);
    let mut alarm = Alarm::new();
    // The first job alone had to wait for the start.
    let mut start = taken.elapsed();
    let ended = loop {
        match serve(&mut worker, &shared, current, taken, &mut alarm, std::mem::take(&mut start)).await {
            Ok(()) => {}
            Err(broken) => break Err((broken.ended, broken.waiting)),
        }
        current = match shared.next() {
            Next::Job(job) => job,
            Next::Wait(mut jobs) => match idle(&mut worker, &mut succession, &mut jobs, &mut alarm).await {
                Ok(Some(job)) => job,
                Ok(None) => break Ok(()),
                Err(ended) => {
                    if let Some(job) = queue::leave(&mut jobs) {
                        job.ask_again();
                    }
                    break Err((ended, None));
                }
            },
            Next::Leave => break Ok(()),
        };
        taken = Instant::now();
        if let Before::Restart = succession.before_call(&mut worker, &current.call.cancel).await {
            worker.leave(&shared.spec).await;
            let starting = Instant::now();
            match start::start_in_ground(&shared, &nursery, false, &current.call.cancel).await {
                Ok(fresh) => worker = fresh,
                Err(failure) => {
                    not_started(&shared, Caller::of(current, taken), failure, starting.elapsed());
                    drop(slot);
                    return succession.end().await;
                }
            }
            succession.restarted(&worker);
            start = starting.elapsed();
        }
    };
    match ended {
        Ok(()) => {
            // Whoever comes now gets a worker that stays.
            drop(slot);
            worker.leave(&shared.spec).await;
        }
        Err((ended, waiting)) => {
            // Nobody has to wait for the burial of a worker whose caller was answered.
            let slot = waiting.is_some().then_some(slot);
            let id = worker.id;
            let (end, tail) = worker.bury(ended.end, ended.process, &shared.spec).await;
            shared.ended(&end, &tail);
            if let Some(Waiting { caller, begun, start }) = waiting {
                let answered = Answered { elapsed: begun.elapsed(), worker: Some(id), start, usage: None };
                caller.answer(CallEnd::Failed(end.failure(tail)), answered);
            }
            drop(slot);
        }
    }
    succession.end().await;
}

/// Answers the call for which no worker could be started.
fn not_started(shared: &Shared, caller: Caller, failure: start::StartFailure, after: Duration) {
    shared.ended(&failure.end, &failure.stderr_tail);
    let failed = CallEnd::Failed(failure.end.failure(failure.stderr_tail));
    caller.answer(failed, Answered { start: after, ..Answered::default() });
}

/// A worker that cannot go on, with the caller who still waits for it, if there is one.
struct Broken {
    ended: Ended,
    waiting: Option<Waiting>,
}

/// A caller who waits, and since when.
struct Waiting {
    caller: Caller,
    begun: Instant,
    start: Duration,
}

/// What is told of a call besides its end.
#[derive(Default)]
struct Answered {
    elapsed: Duration,
    worker: Option<Uuid>,
    start: Duration,
    usage: Option<Usage>,
}

/// Who made a call.
struct Caller {
    reply: oneshot::Sender<Reply>,
    /// How long the call waited for a lane.
    queue: Duration,
}

impl Caller {
    fn of(job: Job, taken: Instant) -> Self {
        Self::new(job.reply, job.asked, taken)
    }

    fn new(reply: oneshot::Sender<Reply>, asked: Instant, taken: Instant) -> Self {
        Self { reply, queue: taken.saturating_duration_since(asked) }
    }

    fn answer(self, end: CallEnd, answered: Answered) {
        let Answered { elapsed, worker, start, usage } = answered;
        let costs = CallCosts { queue: self.queue, start, usage };
        // A caller that went away has cancelled the call; nobody is left to tell.
        let _ = self.reply.send(Reply::Done(CallResult { end, elapsed, worker, costs }));
    }
}

/// Waits for the next job, or for the end of the worker's patience.
async fn idle(
    worker: &mut Worker,
    succession: &mut Succession,
    jobs: &mut oneshot::Receiver<Job>,
    alarm: &mut Alarm,
) -> Result<Option<Job>, Ended> {
    let shared = succession.shared();
    let deadline = Instant::now() + shared.supervisor.settings.idle_timeout;
    loop {
        tokio::select! {
            biased;
            // It fails when the lane is not needed any more.
            job = &mut *jobs => return Ok(job.ok()),
            fresh = succession.arrived() => succession.replace(worker, fresh),
            step = worker.step(&shared.spec) => match step? {
                Step::Finished { .. }
                | Step::Greeted(_)
                | Step::Loaded
                | Step::LoadFailed(_)
                | Step::ResponseBegun { .. }
                | Step::ResponsePart(_) => {
                    return Err(Ended { end: Some(WorkerEnd::Disconnected("a fact without an order".to_owned())), process: None });
                }
                _ => {}
            },
            // Threads and live objects of the plugin go on between calls.
            () = alarm.until(deadline), if !worker.session.is_held() => return Ok(queue::leave(jobs)),
        }
    }
}

/// Does one job and answers it, unless the worker ends over it.
async fn serve(
    worker: &mut Worker,
    shared: &Shared,
    job: Job,
    taken: Instant,
    alarm: &mut Alarm,
    start: Duration,
) -> Result<(), Broken> {
    let Job { call, reply, asked, .. } = job;
    let caller = Caller::new(reply, asked, taken);
    let begun = Instant::now();
    worker.supervisor.registry.update(worker.id, |row| {
        row.state = WorkerState::Running;
        row.invocations += 1;
    });
    let (end, trust, usage) = match worker.call(&call, &shared.spec, alarm).await {
        Ok(done) => done,
        Err(ended) => return Err(Broken { ended, waiting: Some(Waiting { caller, begun, start }) }),
    };
    let answered = Answered { elapsed: begun.elapsed(), worker: Some(worker.id), start, usage };
    match trust {
        Trust::Kept => {
            if matches!(end, CallEnd::Returned { .. }) {
                shared.succeeded();
            }
            worker.supervisor.registry.update(worker.id, |row| row.state = WorkerState::Idle);
            caller.answer(end, answered);
            Ok(())
        }
        Trust::Lost => {
            caller.answer(end, answered);
            // The caller has its answer; the worker is replaced because the plugin was interrupted half way.
            Err(Broken { ended: Ended { end: Some(WorkerEnd::Cancelled), process: None }, waiting: None })
        }
    }
}

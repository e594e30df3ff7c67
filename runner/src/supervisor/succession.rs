//! How a lane comes from a worker in one environment to a worker in another: the new one is started beside the old one, takes
//! its place between two calls, and the old one leaves by itself. No call waits for a build or for a start: the old one calls the code
//! that it has loaded, also when the plugin's file was edited meanwhile.

use std::fs::Metadata;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::end::WorkerEnd;
use super::packages::{Look, Seat};
use super::pool::Shared;
use super::start::{self, StartFailure};
use super::worker::{PluginIdentity, Worker};
use crate::environment::Environment;
use crate::logs::Level;
use crate::session::nursery::Spawner;

/// What a lane knows of the worker that comes after its own.
pub(super) struct Succession {
    shared: Arc<Shared>,
    nursery: Spawner,
    seat: Arc<Seat>,
    arrivals: mpsc::Receiver<Worker>,
    /// The file of the plugin at the last look: time of change and size.
    stamp: Option<(SystemTime, u64)>,
    /// The plugin's file has changed and asks for other packages; how often these had been looked for at that time.
    code_ahead: Option<u64>,
    /// Workers that leave.
    leaving: Vec<oneshot::Receiver<()>>,
    /// Ends the start of a successor.
    starting: Option<DropGuard>,
    done: oneshot::Receiver<()>,
}

/// What a lane does before a call.
pub(super) enum Before {
    /// Make it.
    Call,
    /// Start a worker anew: the plugin is another file.
    Restart,
}

impl Succession {
    /// For a lane whose worker has started.
    pub(super) fn new(shared: &Arc<Shared>, nursery: &Spawner, worker: &Worker) -> Self {
        let seat = Arc::new(Seat::new(shared, &worker.environment));
        let (arriving, arrivals) = mpsc::channel(1);
        let (done_sender, done) = oneshot::channel();
        let starting = CancellationToken::new();
        let successors = successors(Arc::clone(shared), nursery.clone(), Arc::clone(&seat), arriving, starting.clone());
        nursery.spawn(async move {
            successors.await;
            // A lane that does not wait for it has ended.
            let _ = done_sender.send(());
        });
        let stamp = stamp(std::fs::metadata(&shared.spec.plugin_named).ok().as_ref());
        Self {
            shared: Arc::clone(shared),
            nursery: nursery.clone(),
            seat,
            arrivals,
            stamp,
            code_ahead: None,
            leaving: Vec::new(),
            starting: Some(starting.drop_guard()),
            done,
        }
    }

    /// The next successor, when there is one. Cancel safe.
    pub(super) async fn arrived(&mut self) -> Worker {
        match self.arrivals.recv().await {
            Some(worker) => worker,
            None => std::future::pending().await,
        }
    }

    /// Puts a successor in the place of a worker, which leaves by itself.
    pub(super) fn replace(&mut self, worker: &mut Worker, fresh: Worker) {
        let old = std::mem::replace(worker, fresh);
        let (left, leaving) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.nursery.spawn(async move {
            old.leave(&shared.spec).await;
            let _ = left.send(());
        });
        self.leaving.retain_mut(|leaving| matches!(leaving.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        self.leaving.push(leaving);
    }

    /// A worker was started in the place of one that has left.
    pub(super) fn restarted(&mut self, worker: &Worker) {
        self.stamp = stamp(std::fs::metadata(&self.shared.spec.plugin_named).ok().as_ref());
        self.seat.set(&worker.environment);
    }

    /// Takes the successor if it is there, and looks whether plugin or environment have changed.
    pub(super) async fn before_call(&mut self, worker: &mut Worker, cancel: &CancellationToken) -> Before {
        while let Ok(fresh) = self.arrivals.try_recv() {
            self.replace(worker, fresh);
        }
        let shared = &self.shared;
        // Each call pays for this look: one question to the kernel.
        let metadata = std::fs::metadata(&shared.spec.plugin_named).ok();
        let identity = PluginIdentity::from(metadata.as_ref());
        // One that is gone keeps its last code.
        let is_replaced = identity.is_there() && identity != worker.plugin;
        let stamp = stamp(metadata.as_ref());
        let is_edited = !is_replaced && stamp.is_some() && stamp != self.stamp;
        let (mut waits, mut is_coming) = (false, false);
        let turns = shared.packages.turns();
        let look = shared.packages.look(shared, is_replaced || is_edited);
        if look != Look::Same {
            if shared.is_environment_there().await {
                let found = async {
                    // One that cannot be had changes nothing.
                    drop(shared.find_environment().await);
                    // A worker sees an edited file at once, and a replaced one never.
                    if is_edited || is_replaced {
                        self.seat.is_where_it_is_wanted().await;
                    }
                };
                waits = is_edited || is_replaced;
                tokio::select! {
                    () = found => {}
                    () = cancel.cancelled() => {}
                }
            } else {
                shared.find_environment_meanwhile();
                is_coming = true;
                // The code that is loaded goes on until a worker is there that can run the new one.
                self.code_ahead = (look == Look::CodeChanged).then_some(turns);
            }
        }
        let is_looked_for = |since: u64| shared.packages.turns() == since || self.seat.is_moving();
        self.code_ahead = self.code_ahead.filter(|since| is_looked_for(*since));
        if stamp.is_some() {
            self.stamp = stamp;
        }
        while waits && let Ok(fresh) = self.arrivals.try_recv() {
            self.replace(worker, fresh);
        }
        worker.keeps_code = self.code_ahead.is_some();
        let is_replaced = identity.is_there() && identity != worker.plugin;
        // What is on its way to another environment comes with the new code.
        let stays = || is_coming || self.shared.packages.is_being_found() || self.seat.is_moving();
        if is_replaced && !stays() { Before::Restart } else { Before::Call }
    }

    /// The pool of the lane.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The lane ends: no successor starts any more, and who leaves has left.
    pub(super) async fn end(mut self) {
        drop(self.starting.take());
        self.arrivals.close();
        while let Some(worker) = self.arrivals.recv().await {
            worker.leave(&self.shared.spec).await;
        }
        let _ = self.done.await;
        for leaving in self.leaving {
            let _ = leaving.await;
        }
    }
}

fn stamp(plugin: Option<&Metadata>) -> Option<(SystemTime, u64)> {
    let metadata = plugin.filter(|metadata| metadata.is_file())?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Starts a worker in each environment that the lane has to come to.
async fn successors(
    shared: Arc<Shared>,
    nursery: Spawner,
    seat: Arc<Seat>,
    arriving: mpsc::Sender<Worker>,
    cancel: CancellationToken,
) {
    let mut wanted = shared.packages.wanted();
    loop {
        let next = wanted.borrow_and_update().clone();
        if let Some(next) = next.filter(|next| seat.environment().as_ref() != Some(&next.id)) {
            match Box::pin(successor(&shared, &nursery, &next, &cancel)).await {
                Ok(worker) => {
                    let environment = worker.environment.clone();
                    if let Err(mpsc::error::SendError(worker)) = arriving.send(worker).await {
                        worker.leave(&shared.spec).await;
                        return;
                    }
                    seat.set(&environment);
                }
                Err(StartFailure { end: WorkerEnd::Cancelled, .. }) => return,
                Err(StartFailure { end, .. }) => {
                    let text = format!(
                        "no worker can be started in its new environment, and calls go on in the old one: {end}"
                    );
                    shared.spec.log.runner(Level::Error, None, text);
                    shared.packages.refuse(end);
                    // It has come as far as it can.
                    seat.set(&next.id);
                }
            }
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = cancel.cancelled() => return,
        }
    }
}

async fn successor(
    shared: &Arc<Shared>,
    nursery: &Spawner,
    environment: &Environment,
    cancel: &CancellationToken,
) -> Result<Worker, StartFailure> {
    let begun = Instant::now();
    let worker = start::start_in_ground(shared, nursery, true, cancel).await?;
    let text = format!("a worker in environment {} is ready after {:.1?}", environment.id, begun.elapsed());
    shared.spec.log.runner(Level::Info, None, text);
    Ok(worker)
}

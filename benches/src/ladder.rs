//! The rungs: which contestants do what, and against which they are compared.

use std::path::Path;
use std::sync::Arc;

use bulkhead::host::FeedTable;
use bulkhead::session::arrow_ipc;
use bulkhead::supervisor::{CallEvent, Pool};
use bulkhead_proto::types::v1::HttpRequest;
use bulkhead_proto::worker::v1::EntryPoint;

use crate::budget::{self, Budget};
use crate::contest::{self, Contestant, Plan};
use crate::contestant::Work;
#[cfg(libpython)]
use crate::contestant::embedded::{EmbeddedCalls, Input};
use crate::contestant::http::HttpServer;
use crate::contestant::raw::RawEcho;
use crate::contestant::worker::{Runner, WorkerCalls};
use crate::options::{Options, Part};
use crate::python::{self, Plugin};
use crate::report::{Group, Report};
use crate::rows::{Rows, TABLE};
use crate::{Error, terminal};

const INCUMBENT: &str = "incumbent";
const RAW: &str = "raw socketpair";
const RAW_CONFINED: &str = "raw socketpair, confined";
const WORKER: &str = "worker";
const PING: &str = "/ping";
const REQUEST_PLUGIN: &str = "request plugin that does nothing";
const WORKER_ENCODES: &str = "worker, rows encoded first";
const NATIVE: &str = "native LineBuilder";
const IN_PYTHON: &str = "LineBuilder in Python";

/// Sizes of the batches, rows.
const BATCHES: [usize; 3] = [1_000, budget::BATCH_ROWS, 100_000];

/// A contestant by its name, or why it is missing.
type Entrant = (&'static str, Result<Box<dyn Contestant>, String>);

/// Measures everything that was asked for.
pub(crate) async fn climb(options: Options) -> Result<Report, Error> {
    let files = tempfile::Builder::new().prefix("bulkhead-benches-").tempdir()?;
    let runner = Runner::new(files.path())?;
    let mut groups = Vec::new();
    if options.wants(Part::Noop) {
        groups.push(noop(&runner, files.path(), options.quick).await?);
    }
    if options.wants(Part::Http) {
        groups.push(http(&files.path().join("http"), options.quick).await?);
    }
    if options.wants(Part::Rows) {
        groups.extend(rows(&runner, options.quick).await?);
    }
    if options.wants(Part::Lines) {
        groups.push(lines(&runner, options.quick).await?);
    }
    runner.stop().await?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Report { python: python::VERSION, processors, quick: options.quick, groups })
}

async fn noop(runner: &Runner, root: &Path, quick: bool) -> Result<Group, Error> {
    let pool = runner.pool(python::NOOP_REQUEST, EntryPoint::Request)?;
    let request = Arc::new(HttpRequest { method: "GET".to_owned(), ..HttpRequest::default() });
    let event = Box::new(move || Ok(CallEvent::Request(Arc::clone(&request))));
    let entrants = vec![
        (RAW, Ok(Box::new(RawEcho::start()?) as Box<dyn Contestant>)),
        (
            RAW_CONFINED,
            RawEcho::confined(&root.join("scratch")).map(|echo| Box::new(echo) as _).map_err(|e| e.to_string()),
        ),
        (WORKER, Ok(Box::new(WorkerCalls::new(pool, event, Work::Answer)) as _)),
        (INCUMBENT, incumbent_request()),
    ];
    let plan = Plan { rounds: if quick { 3 } else { 40 }, calls: 100, warm_up_calls: 200 };
    let mut group = contend("a call that does nothing".to_owned(), entrants, plan).await?;
    group.compare(WORKER, INCUMBENT, Some(budget::NOOP_TO_INCUMBENT));
    group.compare(WORKER, RAW, Some(budget::NOOP_TO_RAW));
    group.compare(RAW_CONFINED, RAW, None);
    Ok(group)
}

async fn http(root: &Path, quick: bool) -> Result<Group, Error> {
    let server = HttpServer::start(root).await?;
    let entrants = vec![
        (PING, Ok(Box::new(server.ping().await?) as Box<dyn Contestant>)),
        (REQUEST_PLUGIN, Ok(Box::new(server.noop().await?) as _)),
    ];
    let plan = Plan { rounds: if quick { 3 } else { 40 }, calls: 200, warm_up_calls: 500 };
    let mut group = contend("a request over HTTP, 8 connections".to_owned(), entrants, plan).await?;
    group.compare(REQUEST_PLUGIN, PING, Some(budget::HTTP_TO_PING));
    server.stop().await;
    Ok(group)
}

/// A thousand lines, so that the call itself does not matter.
async fn lines(runner: &Runner, quick: bool) -> Result<Group, Error> {
    let request = Arc::new(HttpRequest { method: "GET".to_owned(), ..HttpRequest::default() });
    let contestant = |plugin| -> Result<Box<dyn Contestant>, Error> {
        let request = Arc::clone(&request);
        let event = Box::new(move || Ok(CallEvent::Request(Arc::clone(&request))));
        let pool = runner.pool(plugin, EntryPoint::Request)?;
        Ok(Box::new(WorkerCalls::new(pool, event, Work::Answer)))
    };
    let entrants =
        vec![(NATIVE, Ok(contestant(python::LINES)?)), (IN_PYTHON, Ok(contestant(python::LINES_IN_PYTHON)?))];
    let plan = Plan { rounds: if quick { 3 } else { 20 }, calls: 20, warm_up_calls: 5 };
    let mut group = contend("a call that builds 1,000 lines".to_owned(), entrants, plan).await?;
    group.compare(NATIVE, IN_PYTHON, Some(budget::LINES_TO_PYTHON));
    Ok(group)
}

/// One kind of plugin for batches.
struct Kind {
    plugin: Plugin,
    does: &'static str,
    budget: Budget,
    pool: Arc<Pool>,
}

async fn rows(runner: &Runner, quick: bool) -> Result<Vec<Group>, Error> {
    let kind =
        |plugin, does, budget| runner.pool(plugin, EntryPoint::Writes).map(|pool| Kind { plugin, does, budget, pool });
    let kinds = [
        kind(python::SUM_FIELD, "one field is summed", budget::SUM_TO_INCUMBENT)?,
        kind(python::UNTOUCHED, "the rows are not touched", budget::UNTOUCHED_TO_INCUMBENT)?,
        kind(python::SUM_ARROW, "one field is summed through Arrow", budget::ARROW_TO_INCUMBENT)?,
    ];
    let mut groups = Vec::new();
    for count in BATCHES {
        let rows = Arc::new(Rows::new(count)?);
        for kind in &kinds {
            groups.push(batch(&rows, kind, quick).await?);
        }
    }
    Ok(groups)
}

async fn batch(rows: &Arc<Rows>, kind: &Kind, quick: bool) -> Result<Group, Error> {
    // The incumbent has no Arrow to offer; it sums its rows.
    let (work, incumbent, incumbent_work) = match kind.plugin.file {
        file if file == python::SUM_FIELD.file => (Work::Sum(rows.sum), python::SUM_FIELD, Work::Sum(rows.sum)),
        file if file == python::SUM_ARROW.file => {
            (Work::SumInAnyOrder(rows.sum), python::SUM_FIELD, Work::Sum(rows.sum))
        }
        _ => (Work::Nothing, kind.plugin, Work::Nothing),
    };
    let ready = feed_table(rows)?;
    let from_feed = Box::new(move || Ok(wal(ready.clone())));
    let held = Arc::clone(rows);
    let from_arrow = Box::new(move || feed_table(&held).map(wal));
    let mut worker: Box<dyn Contestant> = Box::new(WorkerCalls::new(Arc::clone(&kind.pool), from_feed, work));
    // Its package may not be there to be installed.
    let worker = match worker.batch(1).await {
        Ok(_) => Ok(worker),
        Err(error) if kind.plugin.file == python::SUM_ARROW.file => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let encodes = match &worker {
        Ok(_) => Ok(Box::new(WorkerCalls::new(Arc::clone(&kind.pool), from_arrow, work)) as Box<dyn Contestant>),
        Err(reason) => Err(reason.clone()),
    };
    let entrants =
        vec![(WORKER, worker), (WORKER_ENCODES, encodes), (INCUMBENT, incumbent_rows(incumbent, rows, incumbent_work))];
    let title = format!("a batch of {} rows x {} columns, {}", rows.count, rows.batch.num_columns(), kind.does);
    let mut group = contend(title, entrants, plan(rows.count, quick)).await?;
    group.compare(WORKER, INCUMBENT, (rows.count == budget::BATCH_ROWS).then_some(kind.budget));
    group.compare(WORKER_ENCODES, INCUMBENT, None);
    Ok(group)
}

/// About as much time for each size of batch.
fn plan(rows: usize, quick: bool) -> Plan {
    let (rounds, calls) = match rows {
        ..5_000 => (40, 10),
        5_000..50_000 => (30, 4),
        _ => (10, 2),
    };
    if quick { Plan { rounds: 2, calls, warm_up_calls: 2 } } else { Plan { rounds, calls, warm_up_calls: 5 } }
}

fn feed_table(rows: &Rows) -> Result<FeedTable, Error> {
    let ipc = arrow_ipc::encode(&rows.batch.schema(), std::slice::from_ref(&rows.batch))?;
    Ok(FeedTable { table: TABLE.to_owned(), rows: rows.count, ipc })
}

fn wal(table: FeedTable) -> CallEvent {
    CallEvent::Wal { database: "bench".to_owned(), sequence: 1, tables: vec![table] }
}

#[cfg(libpython)]
fn incumbent_request() -> Result<Box<dyn Contestant>, String> {
    Ok(Box::new(EmbeddedCalls::new(python::NOOP_REQUEST, Input::Request, Work::Answer)))
}

#[cfg(libpython)]
fn incumbent_rows(plugin: Plugin, rows: &Rows, work: Work) -> Result<Box<dyn Contestant>, String> {
    Ok(Box::new(EmbeddedCalls::new(plugin, Input::Rows(Arc::clone(&rows.wal)), work)))
}

#[cfg(not(libpython))]
fn incumbent_request() -> Result<Box<dyn Contestant>, String> {
    Err(python::no_libpython())
}

#[cfg(not(libpython))]
fn incumbent_rows(_: Plugin, _: &Rows, _: Work) -> Result<Box<dyn Contestant>, String> {
    Err(python::no_libpython())
}

/// Lets those who are there take turns.
async fn contend(title: String, mut entrants: Vec<Entrant>, plan: Plan) -> Result<Group, Error> {
    terminal::complain(&format!("measuring: {title}"));
    let mut present: Vec<&mut Box<dyn Contestant>> =
        entrants.iter_mut().filter_map(|(_, entrant)| entrant.as_mut().ok()).collect();
    let mut results = contest::run(&mut present, plan).await?.into_iter();
    let mut group = Group::new(title);
    for (name, entrant) in &entrants {
        match entrant {
            Err(reason) => group.add(name, Err(reason.clone())),
            Ok(_) => group.add(name, Ok(&results.next().unwrap_or_default())),
        }
    }
    Ok(group)
}

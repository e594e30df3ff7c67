//! A small server that delegates its plugins to Bulkhead: see the README beside this file.
//!
//! `small-host HOST_SOCKET RUNNER_SOCKET`

mod delegate;
mod line;
mod serve;
mod store;
mod wal;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::store::Store;

/// Longest wait for the runner to do something.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What clients of this server write: one commit each.
const WRITES: [&str; 3] = [
    "weather,city=Oslo temp=-3.5 1700000000000000000\nweather,city=Rome temp=14.25 1700000000000000000",
    "weather,city=Oslo temp=-2 1700003600000000000",
    "weather,city=Cairo temp=23.5 1700003600000000000\nweather,city=Rome temp=15 1700003600000000000",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(host_socket), Some(runner_socket), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: small-host HOST_SOCKET RUNNER_SOCKET".into());
    };
    run(host_socket, runner_socket).await
}

/// Serves the host, delegates the plugins to the runner, and shows what came of it.
pub(crate) async fn run(host_socket: PathBuf, runner_socket: PathBuf) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(Store::default());
    let mut tasks: JoinSet<Result<(), Box<dyn Error + Send + Sync>>> = JoinSet::new();
    tasks.spawn(serve::host(Arc::clone(&store), host_socket.clone()));
    let result = tokio::select! {
        ended = tasks.join_next() => Err(format!("the host service ended: {ended:?}").into()),
        result = timeout(PATIENCE, delegate_all(&store, runner_socket)) => result.unwrap_or_else(|late| Err(late.into())),
    };
    tasks.shutdown().await;
    let _ = std::fs::remove_file(host_socket);
    result
}

async fn delegate_all(store: &Arc<Store>, runner_socket: PathBuf) -> Result<(), Box<dyn Error>> {
    let mut runner = delegate::connect(&runner_socket).await?;
    say(format!("connected to runner {}", delegate::version(&mut runner).await?));
    for trigger in delegate::triggers() {
        say(format!("registered {}", delegate::create(&mut runner, trigger).await?));
    }
    let mut streaming = JoinSet::new();
    streaming.spawn(wal::stream(Arc::clone(store), runner.clone()));

    for lines in WRITES {
        let sequence = store.write(lines, None).map_err(|error| error.to_string())?;
        say(format!("committed {sequence}: {} rows of weather", lines.lines().count()));
    }
    while store.unacknowledged() > 0 {
        sleep(PAUSE).await;
    }
    say("every commit is durable in the runner's journal; the rows that the data-write plugin derives come:");
    while store.show("fahrenheit").len() < WRITES.iter().map(|lines| lines.lines().count()).sum() {
        sleep(PAUSE).await;
    }
    for row in store.show("fahrenheit") {
        say(format!("  {row}"));
    }

    say(format!("the request plugin answers: {}", delegate::ask(&mut runner, "weather").await?));
    say(format!("and for a table that is not there: {}", delegate::ask(&mut runner, "snow").await?));

    while store.show("row_count").is_empty() {
        sleep(PAUSE).await;
    }
    for row in store.show("row_count") {
        say(format!("the scheduled plugin wrote: {row}"));
    }
    for trigger in delegate::triggers() {
        delegate::delete(&mut runner, &trigger.name).await?;
    }
    streaming.shutdown().await;
    say("triggers deleted");
    Ok(())
}

/// Tells the person at the terminal. A reader that went away is no failure.
fn say(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

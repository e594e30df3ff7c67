//! How fast the embedded host acknowledges writes with every commit forced to disk, alone and with a trigger that sums them, and
//! what the journal costs that trigger. `benches/README.md` has the numbers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bulkhead::config::Config;
use bulkhead::server::Server;
use bulkhead_launcher::LAUNCH_ARGUMENT;
use clap::Parser;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Rows of one write.
const ROWS: usize = 10_000;
/// Different bodies of a client, so that a cache cannot know them.
const BODIES: usize = 4;
/// The first second of which there are rows, since the epoch. All have ten digits.
const FIRST_SECOND: u64 = 1_700_000_000;
/// Bytes of a journal that no snapshot is due for: those after which one is taken, and two segments.
const QUIET_JOURNAL_BYTES: f64 = (96 << 20) as f64;
/// Longest wait for the snapshots of a round.
const QUIET_AFTER: Duration = Duration::from_secs(60);
/// Least rate of acknowledged rows with the trigger, rows a second.
const RATE_MIN: f64 = 200_000.0;
/// Least share of the rate without a trigger.
const SHARE_MIN: f64 = 0.8;
/// Most that the journal may cost of the plugin's throughput.
const JOURNAL_COST_MAX: f64 = 0.1;

const SUM: &str = "\
def process_writes(influxdb3_local, table_batches, args=None):
    total = 0.0
    for batch in table_batches:
        for row in batch['rows']:
            total += row['f0']
    influxdb3_local.write(LineBuilder('sums').float64_field('total', total))
";

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Measures acknowledged rows a second.
#[derive(Debug, Clone, Copy, Parser)]
struct Options {
    /// Time of one round, seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Rounds with and without the trigger, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Clients that write at the same time.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Niceness of the worker.
    #[arg(long, default_value_t = bulkhead::limits::WORKER_NICE)]
    worker_nice: i32,
    /// Exit with failure when a budget is missed.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    // Workers are started by running this binary again, as the runner's own.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == LAUNCH_ARGUMENT) {
        return bulkhead_launcher::launcher_main();
    }
    let options = Options::parse();
    match run(options) {
        Ok((report, all_met)) => {
            let written = std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes());
            if written.is_ok() && (all_met || !options.check) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(String, bool), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: Options) -> Result<(String, bool), Error> {
    let directory = tempfile::tempdir()?;
    let alone = Host::start(&directory.path().join("alone"), None).await?;
    let watched = Host::start(&directory.path().join("watched"), Some(options.worker_nice)).await?;
    let mut clients: Vec<Vec<Lines>> = (0..options.connections).map(Lines::of_client).collect();
    let duration = Duration::from_secs(options.seconds);
    for host in [&alone, &watched] {
        host.write_for(&mut clients, Duration::from_secs(1)).await?;
    }
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for (host, rates) in [(&alone, &mut without), (&watched, &mut with)] {
            // What one has left to do would be taken from the other.
            alone.until_quiet().await?;
            watched.until_quiet().await?;
            rates.push(host.write_for(&mut clients, duration).await?);
        }
    }
    watched.until_quiet().await?;
    let (cost, plugin_rate) = watched.journal_cost(&mut clients, duration).await?;
    alone.server.stop().await;
    watched.server.stop().await;

    let (without, with) = (median(&mut without), median(&mut with));
    let share = with / without.max(1.0);
    let all_met = with >= RATE_MIN && share >= SHARE_MIN && cost <= JOURNAL_COST_MAX;
    let verdict = |is_met: bool| if is_met { "met" } else { "missed" };
    let report = format!(
        "acknowledged without a trigger   {without:>9.0} rows/s\n\
         acknowledged with the trigger    {with:>9.0} rows/s, at least {RATE_MIN:.0}: {}\n\
         share of the rate without        {share:>9.2}, at least {SHARE_MIN}: {}\n\
         the plugin works through         {plugin_rate:>9.0} rows/s\n\
         of which the journal costs       {:>8.1}%, at most {:.0}%: {}\n",
        verdict(with >= RATE_MIN),
        verdict(share >= SHARE_MIN),
        cost * 100.0,
        JOURNAL_COST_MAX * 100.0,
        verdict(cost <= JOURNAL_COST_MAX)
    );
    Ok((report, all_met))
}

/// A server with its data below a directory of its own.
struct Host {
    server: Server,
    address: SocketAddr,
    /// The next second of which nothing was written.
    second: AtomicU64,
    has_trigger: bool,
}

impl Host {
    /// With a trigger if `worker_nice` says how nice its worker is.
    async fn start(root: &Path, worker_nice: Option<i32>) -> Result<Self, Error> {
        let mut config = Config::new(root.join("data"), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.worker_nice = worker_nice.unwrap_or(config.worker_nice);
        let plugins = root.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        std::fs::write(plugins.join("sum.py"), SUM)?;
        config.plugin_dir = Some(plugins);
        let server = Server::start(config).await?;
        let (second, has_trigger) = (AtomicU64::new(FIRST_SECOND), worker_nice.is_some());
        let host = Self { address: server.http_address(), server, second, has_trigger };
        host.post("/api/v3/configure/database", json!({ "db": "bench" }).to_string().as_bytes()).await?;
        if has_trigger {
            let trigger = json!({
                "db": "bench", "plugin_filename": "sum.py", "trigger_name": "sum", "disabled": false,
                "trigger_specification": "table:m", "trigger_settings": { "run_async": false, "error_behavior": "log" },
            });
            host.post("/api/v3/configure/processing_engine_trigger", trigger.to_string().as_bytes()).await?;
        }
        Ok(host)
    }

    async fn post(&self, path: &str, body: &[u8]) -> Result<(), Error> {
        let mut connection = TcpStream::connect(self.address).await?;
        exchange(&mut connection, path, body).await
    }

    /// Writes from several clients, and tells how many rows a second were acknowledged.
    async fn write_for(&self, clients: &mut [Vec<Lines>], duration: Duration) -> Result<f64, Error> {
        let begun = Instant::now();
        let clients = clients.iter_mut().map(|bodies| async move {
            let mut connection = TcpStream::connect(self.address).await?;
            connection.set_nodelay(true)?;
            let mut written = 0;
            while begun.elapsed() < duration {
                let body = &mut bodies[written % BODIES];
                let text = body.of_second(self.second.fetch_add(1, Ordering::Relaxed));
                exchange(&mut connection, "/api/v3/write_lp?db=bench&precision=nanosecond", text).await?;
                written += 1;
            }
            Ok::<usize, Error>(written * ROWS)
        });
        let rows: usize = futures_util::future::try_join_all(clients).await?.into_iter().sum();
        Ok(rows as f64 / begun.elapsed().as_secs_f64())
    }

    /// The time that calls of the plugin take, and what part of the time between the first and the last of them they do not fill,
    /// while the trigger works through what it lags behind. Nothing else runs meanwhile.
    async fn journal_cost(&self, clients: &mut [Vec<Lines>], duration: Duration) -> Result<(f64, f64), Error> {
        self.write_for(clients, duration).await?;
        let (rows_before, run_before, begun) = (self.lag_rows().await?, self.run_seconds().await?, Instant::now());
        self.until_caught_up().await?;
        let (elapsed, run) = (begun.elapsed().as_secs_f64(), self.run_seconds().await? - run_before);
        Ok(((1.0 - run / elapsed).max(0.0), rows_before / elapsed))
    }

    /// Waits until the trigger has done everything and no snapshot is due.
    async fn until_quiet(&self) -> Result<(), Error> {
        let begun = Instant::now();
        while self.lag_rows().await? > 0.0 || self.metric("bulkhead_journal_bytes").await? > QUIET_JOURNAL_BYTES {
            if begun.elapsed() > QUIET_AFTER {
                return Err("a server did not come to rest after a round".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn until_caught_up(&self) -> Result<(), Error> {
        while self.lag_rows().await? > 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn lag_rows(&self) -> Result<f64, Error> {
        if self.has_trigger { self.metric("bulkhead_trigger_lag_rows{").await } else { Ok(0.0) }
    }

    async fn run_seconds(&self) -> Result<f64, Error> {
        self.metric("bulkhead_invocation_stage_seconds_sum{stage=\"run\"}").await
    }

    async fn metric(&self, name: &str) -> Result<f64, Error> {
        let mut connection = TcpStream::connect(self.address).await?;
        connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        connection.read_to_string(&mut text).await?;
        let line = text.lines().find(|line| line.starts_with(name)).ok_or("no such metric")?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }
}

/// Sends a request and reads the answer, which has to be a success without a body.
async fn exchange(connection: &mut TcpStream, path: &str, body: &[u8]) -> Result<(), Error> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = connection.read(&mut buffer).await?;
        if read == 0 {
            return Err("the server closed a connection".into());
        }
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&answer);
    let is_success = text.starts_with("HTTP/1.1 204") || text.starts_with("HTTP/1.1 200");
    if is_success { Ok(()) } else { Err(format!("unexpected answer: {text}").into()) }
}

/// Line protocol of [`ROWS`] rows with five tags and ten fields, all within one second.
struct Lines {
    text: Vec<u8>,
    /// Where the seconds of the timestamps stand.
    seconds: Vec<usize>,
}

impl Lines {
    /// What a client writes. Each has series of its own, as agents on different machines have.
    fn of_client(client: usize) -> Vec<Self> {
        (0..BODIES).map(|number| Self::new(client, number)).collect()
    }

    fn new(client: usize, number: usize) -> Self {
        let (mut text, mut seconds) = (String::new(), Vec::with_capacity(ROWS));
        for row in 0..ROWS {
            let tags: String = (1..5)
                .map(|tag| format!(",t{tag}=t{tag}-value-{:04}", (row * (tag + 3)) % [3, 5, 10, 50, 200][tag]))
                .collect();
            let value = |field: usize| ((number + row * (field + 7)) % 100_000) as f64 / 7.0;
            let fields: Vec<String> = (0..10).map(|field| format!("f{field}={:.3}", value(field))).collect();
            text.push_str(&format!("m,t0=t0-value-{client:04}{tags} {} ", fields.join(",")));
            seconds.push(text.len());
            text.push_str(&format!("{FIRST_SECOND}{:09}\n", row * 100_000));
        }
        Self { text: text.into_bytes(), seconds }
    }

    /// With the timestamps of this second.
    fn of_second(&mut self, second: u64) -> &[u8] {
        let digits = second.to_string();
        for &at in &self.seconds {
            self.text[at..at + digits.len()].copy_from_slice(digits.as_bytes());
        }
        &self.text
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

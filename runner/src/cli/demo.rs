//! `bulkhead demo`: the main job on real data, with the same HTTP calls that anybody would make.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::{Client, with_query};
use super::output::{CliError, note, say};
use super::serve::{LogFormat, Signals, log_to_stderr};
use crate::config::Config;
use crate::server::Server;

/// `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keep the server running at the end, until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// Directory for the demo's data; a temporary one that is removed otherwise.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Port of the HTTP API; any free one otherwise.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// What the server logs to standard error meanwhile.
    #[arg(long, env = "LOG_FILTER", default_value = "error,bulkhead::plugin=off", value_name = "FILTER")]
    log_filter: String,
}

const DATABASE: &str = "weather";
/// NOAA's daily weather of three airports; see `examples/data/README.md`.
const DATA: &str = include_str!("../../../examples/data/bay-area-weather.lp");
/// Rows of the file that have both temperatures; two lack one.
const DERIVED_ROWS: u64 = 3286;
const PLUGINS: [(&str, &str); 4] = [
    ("daily_range.py", include_str!("../../../examples/plugins/daily_range.py")),
    ("station_report.py", include_str!("../../../examples/plugins/station_report.py")),
    ("hottest_day.py", include_str!("../../../examples/plugins/hottest_day.py")),
    ("segfault.py", include_str!("../../../examples/plugins/segfault.py")),
];
/// Lines of one write.
const BATCH_LINES: usize = 400;
/// Longest wait for something to be seen; the first use makes an environment.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the command.
pub(super) async fn run(args: DemoArgs) -> Result<(), CliError> {
    log_to_stderr(&args.log_filter, LogFormat::Text)?;
    let mut signals = Signals::new()?;
    let temporary = tempfile::Builder::new().prefix("bulkhead-demo-").tempdir();
    let temporary = temporary.map_err(|error| CliError::new(format!("temporary directory: {error}")))?;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let plugin_dir = data_dir.join("plugins");
    lay_out(&plugin_dir).map_err(|error| CliError::new(format!("{}: {error}", plugin_dir.display())))?;
    let mut config = Config::new(data_dir, SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)));
    config.plugin_dir = Some(plugin_dir.clone());

    step("Start the server with its embedded database");
    let server = Server::start(config).await?;
    let url = format!("http://{}", server.http_address());
    say(format!("  listening on {url}"));
    let demo = Demo { client: Client::new(&url)? };
    let outcome = tokio::select! {
        outcome = demo.show() => outcome,
        () = signals.next() => Err(CliError::new("interrupted")),
    };
    if outcome.is_ok() {
        by_hand(&url, args.stay);
        if args.stay {
            say(format!("\nThe server stays up at {url}; stop it with Ctrl-C."));
            signals.next().await;
        }
    }
    server.stop().await;
    say("\nStopped: no process of the demo is left.");
    outcome
}

fn lay_out(plugin_dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(plugin_dir)?;
    PLUGINS.iter().try_for_each(|(name, code)| std::fs::write(plugin_dir.join(name), code))
}

fn step(text: &str) {
    say(format!("\n== {text}"));
}

struct Demo {
    client: Client,
}

impl Demo {
    async fn show(&self) -> Result<(), CliError> {
        step("Register three plugins, each with its own worker process");
        let database = json!({ "db": DATABASE });
        self.client.post_json("/api/v3/configure/database", &database).await?.success("create database")?;
        self.trigger("daily_range", "daily_range.py", "table:weather").await?;
        self.trigger("station_report", "station_report.py", "every:1s").await?;
        self.trigger("hottest", "hottest_day.py", "request:hottest").await?;

        step("Write 3288 rows of real weather");
        self.write().await?;

        step("What the data-write plugin derived");
        let count = "SELECT count(*) AS n FROM daily_range";
        self.wait("rows derived", count, DERIVED_ROWS).await?;
        self.table("SELECT location, count(*) AS days, min(range) AS least, max(range) AS most FROM daily_range GROUP BY location ORDER BY location")
            .await?;

        step("What the scheduled plugin reported");
        self.wait("stations reported", "SELECT count(DISTINCT location) AS n FROM station_report WHERE days = 1096", 3)
            .await?;
        self.table("SELECT location, days, mean_temp FROM station_report ORDER BY time DESC, location LIMIT 3").await?;

        step("What the request plugin answers: GET /api/v3/engine/hottest?location=Hayward");
        self.hottest().await?;

        step("The workers: one process each, in a virtual environment");
        self.table("SELECT trigger_name, pid, state, environment, python, invocations FROM system.workers WHERE state <> 'ended' ORDER BY trigger_name")
            .await?;
        self.crash().await
    }

    async fn crash(&self) -> Result<(), CliError> {
        step("A fourth plugin reads from address zero");
        let pids = "SELECT trigger_name, pid FROM system.workers WHERE state <> 'ended' AND trigger_name <> 'segfault' ORDER BY trigger_name";
        let before = self.rows(pids).await?;
        self.trigger("segfault", "segfault.py", "table:doomed").await?;
        let path = with_query("/api/v3/write_lp", &[("db", DATABASE)]);
        self.client.post(&path, "doomed value=1").await?.success("write")?;
        self.wait(
            "worker dead",
            "SELECT count(*) AS n FROM system.workers WHERE trigger_name = 'segfault' AND state = 'ended'",
            1,
        )
        .await?;
        self.table("SELECT trigger_name, pid, end_cause FROM system.workers WHERE trigger_name = 'segfault'").await?;
        let log = "SELECT log_text FROM system.processing_engine_logs WHERE trigger_name = 'segfault' AND log_level = 'ERROR' AND invocation_id IS NULL";
        for row in self.rows(log).await? {
            for line in row.get("log_text").and_then(Value::as_str).unwrap_or_default().lines() {
                say(format!("  | {line}"));
            }
        }

        step("The others go on, in the same processes");
        self.hottest().await?;
        let after = self.rows(pids).await?;
        for row in &after {
            let word = if before.contains(row) { "same pid as before" } else { "started since" };
            let text = |name| row.get(name).map(|value: &Value| value.to_string().replace('"', "")).unwrap_or_default();
            say(format!("  {:<16} pid {:<8} {word}", text("trigger_name"), text("pid")));
        }
        if before != after {
            return Err(CliError::new("a neighbour of the crashed plugin was replaced"));
        }
        Ok(())
    }

    async fn trigger(&self, name: &str, file: &str, spec: &str) -> Result<(), CliError> {
        let body = json!({
            "db": DATABASE, "plugin_filename": file, "trigger_name": name, "trigger_specification": spec,
            "trigger_settings": { "run_async": false, "error_behavior": "log" }, "disabled": false,
        });
        self.client.post_json("/api/v3/configure/processing_engine_trigger", &body).await?.success("create trigger")?;
        say(format!("  {name:<16} {file:<20} {spec}"));
        Ok(())
    }

    async fn write(&self) -> Result<(), CliError> {
        let path = with_query("/api/v3/write_lp", &[("db", DATABASE), ("precision", "ns")]);
        let lines: Vec<&str> = DATA.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).collect();
        let begun = Instant::now();
        let mut written = 0;
        for batch in lines.chunks(BATCH_LINES) {
            self.client.post(&path, batch.join("\n")).await?.success("write")?;
            written += batch.len();
            progress(&format!("{written} of {} rows written", lines.len()), written == lines.len());
        }
        say(format!(
            "  {written} rows in {} batches, durable after {:.0?}",
            lines.len().div_ceil(BATCH_LINES),
            begun.elapsed()
        ));
        Ok(())
    }

    /// Waits until the query's number `n` has reached `wanted`.
    async fn wait(&self, what: &str, sql: &str, wanted: u64) -> Result<(), CliError> {
        let begun = Instant::now();
        loop {
            // The table is made by its first row, so a query can fail at first.
            let seen = self.rows(sql).await.ok().and_then(|rows| rows.first()?.get("n")?.as_u64()).unwrap_or_default();
            progress(&format!("{seen} of {wanted} {what}"), seen >= wanted);
            if seen >= wanted {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                self.complain().await;
                return Err(CliError::new(format!("only {seen} of {wanted} {what} after {PATIENCE:?}")));
            }
            sleep(LOOK).await;
        }
    }

    /// Shows what went wrong.
    async fn complain(&self) {
        let sql = "SELECT trigger_name, log_text FROM system.processing_engine_logs WHERE log_level <> 'INFO' ORDER BY event_time DESC LIMIT 10";
        for row in self.rows(sql).await.unwrap_or_default() {
            note(format!("  {row}"));
        }
    }

    async fn hottest(&self) -> Result<(), CliError> {
        let answer = self
            .client
            .get(&with_query("/api/v3/engine/hottest", &[("location", "Hayward")]))
            .await?
            .success("request plugin")?;
        say(format!("  {}", answer.text()));
        Ok(())
    }

    async fn rows(&self, sql: &str) -> Result<Vec<Value>, CliError> {
        let answer =
            self.client.post_json("/api/v3/query_sql", &json!({ "db": DATABASE, "q": sql, "format": "json" })).await?;
        let answer = answer.success("query")?;
        serde_json::from_slice(&answer.body).map_err(|error| CliError::new(format!("query: {error}")))
    }

    async fn table(&self, sql: &str) -> Result<(), CliError> {
        let answer = self
            .client
            .post_json("/api/v3/query_sql", &json!({ "db": DATABASE, "q": sql, "format": "pretty" }))
            .await?;
        for line in answer.success("query")?.text().lines() {
            say(format!("  {line}"));
        }
        Ok(())
    }
}

/// Shows how far something has come, on a terminal on one line that is written again.
fn progress(text: &str, is_done: bool) {
    use std::io::Write;
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let end = if is_done { "\n" } else { "" };
        // A closed terminal is no reason to fail.
        let _ = write!(stderr, "\r  {text}\x1b[K{end}").and_then(|()| stderr.flush());
    } else if is_done {
        note(format!("  {text}"));
    }
}

fn by_hand(url: &str, stays: bool) {
    step("The same by hand");
    let (host, serve) = if stays {
        (format!(" --host {url}"), String::new())
    } else {
        (String::new(), "  bulkhead serve --plugin-dir examples/plugins &\n".to_owned())
    };
    // Whoever has built it has no `bulkhead` on the path yet.
    let program = std::env::args().next().unwrap_or_else(|| "bulkhead".to_owned());
    let serve = serve.replace("bulkhead", &program);
    let api = if stays { url } else { "http://127.0.0.1:8181" };
    say(format!(
        "{serve}  {program} create database{host} weather
  {program} create trigger{host} -d weather --path daily_range.py --trigger-spec table:weather daily_range
  {program} create trigger{host} -d weather --path hottest_day.py --trigger-spec request:hottest hottest
  {program} write{host} -d weather --file examples/data/bay-area-weather.lp
  {program} query{host} -d weather 'SELECT * FROM daily_range LIMIT 5'
  curl '{api}/api/v3/engine/hottest?location=Hayward'"
    ));
}

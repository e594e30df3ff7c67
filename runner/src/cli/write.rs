//! `bulkhead write`.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;

use super::client::{Answer, Client, with_query};
use super::output::{CliError, note, say};
use super::{DatabaseArgs, ServerArgs};

/// `write`.
#[derive(Debug, Args)]
pub(super) struct WriteArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// File with line protocol; standard input when neither a file nor lines are given.
    #[arg(short, long, conflicts_with = "line_protocol")]
    file: Option<PathBuf>,
    /// Unit of the timestamps: ns, us, ms, s or auto.
    #[arg(short, long)]
    precision: Option<String>,
    /// Refuse a batch as a whole when one of its lines is bad.
    #[arg(long)]
    no_partial: bool,
    /// Do not wait until the lines are durable.
    #[arg(long)]
    no_sync: bool,
    /// Lines of one request.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_lines: u32,
    /// The lines themselves.
    line_protocol: Option<String>,
}

/// Bad lines that are shown of one request.
const SHOWN_LINES_MAX: usize = 10;

/// Runs the command.
pub(super) async fn run(args: WriteArgs) -> Result<(), CliError> {
    let mut input: Box<dyn BufRead> = match (&args.file, args.line_protocol.clone()) {
        (Some(path), _) => {
            let file = File::open(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
            Box::new(BufReader::new(file))
        }
        (None, Some(lines)) => Box::new(BufReader::new(std::io::Cursor::new(lines))),
        (None, None) => Box::new(BufReader::new(std::io::stdin())),
    };
    let client = args.server.client()?;
    let path = target(&args);
    let (mut line, mut written, mut failed) = (0, 0, false);
    loop {
        let (batch, lines) = next_batch(&mut input, args.batch_lines)?;
        if lines == 0 {
            break;
        }
        let bad = send(&client, &path, batch, line).await?;
        failed |= bad > 0;
        line += lines;
        written += lines - bad.min(lines);
        if std::io::stderr().is_terminal() && lines == args.batch_lines as usize {
            note(format!("{line} lines sent"));
        }
    }
    if failed {
        return Err(CliError::new("some lines were not written"));
    }
    say(format!("success: {written} lines"));
    Ok(())
}

fn target(args: &WriteArgs) -> String {
    let mut parameters = vec![("db", args.database.database.as_str())];
    if let Some(precision) = &args.precision {
        parameters.push(("precision", precision));
    }
    if args.no_partial {
        parameters.push(("accept_partial", "false"));
    }
    if args.no_sync {
        parameters.push(("no_sync", "true"));
    }
    with_query("/api/v3/write_lp", &parameters)
}

fn next_batch(input: &mut dyn BufRead, lines_max: u32) -> Result<(Bytes, usize), CliError> {
    let mut batch = Vec::new();
    let mut lines = 0;
    while lines < lines_max as usize {
        match input.read_until(b'\n', &mut batch) {
            Ok(0) => break,
            Ok(_) => lines += 1,
            Err(error) => return Err(CliError::new(format!("input: {error}"))),
        }
    }
    Ok((batch.into(), lines))
}

/// Sends a batch and returns how many of its lines were not written.
async fn send(client: &Client, path: &str, batch: Bytes, lines_before: usize) -> Result<usize, CliError> {
    let answer = client.post(path, batch).await?;
    let bad = bad_lines(&answer);
    if answer.status.is_success() || bad.is_empty() {
        answer.success("Write command failed")?;
        return Ok(0);
    }
    note(format!("error: {}", answer.error_text()));
    for (number, reason) in bad.iter().take(SHOWN_LINES_MAX) {
        note(format!("  line {}: {reason}", lines_before + number));
    }
    if bad.len() > SHOWN_LINES_MAX {
        note(format!("  and {} more", bad.len() - SHOWN_LINES_MAX));
    }
    Ok(bad.len())
}

fn bad_lines(answer: &Answer) -> Vec<(usize, String)> {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let data = json.get("data").cloned().unwrap_or_default();
    let lines = if data.is_array() { data.as_array().cloned().unwrap_or_default() } else { vec![data] };
    let line = |line: &serde_json::Value| {
        let number = line.get("line_number")?.as_u64()?;
        let text = format!("{}: {}", line.get("error_message")?.as_str()?, line.get("original_line")?.as_str()?);
        Some((usize::try_from(number).ok()?, text))
    };
    lines.iter().filter_map(line).collect()
}

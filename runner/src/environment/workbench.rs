//! Where the build code of source packages runs: in a sandbox, which others provide.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// Something to run that nobody trusts.
#[derive(Debug, Clone)]
pub struct BenchTask {
    /// The interpreter, in the environment that it belongs to.
    pub python: PathBuf,
    /// That environment, which it may read and execute.
    pub environment: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The directory in which it starts, and the only one in which it may write. It holds nothing else that matters.
    pub bench: PathBuf,
    /// When it is ended.
    pub deadline: Instant,
}

/// How it ended by itself, or what it was ended for.
#[derive(Debug)]
pub struct BenchOutput {
    /// Its exit status; none when the deadline ended it.
    pub status: Option<ExitStatus>,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
    /// What else there is to say of its end.
    pub remark: Option<String>,
}

/// Hears the lines of what runs.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// A sandbox without network, and without any file but those of the task and of the system.
pub trait Workbench: fmt::Debug + Send + Sync {
    /// Runs a task until it and all that it has started is gone. Dropping the future ends it. An error says why it cannot run.
    fn run(&self, task: BenchTask, listener: Listener) -> BoxFuture<'static, Result<BenchOutput, String>>;
}

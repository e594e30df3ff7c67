//! Making the lock of some requirements anew, and taking it into use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::digest::request_id;
use super::error::EnvironmentError;
use super::files::{blocking, remove, write_whole};
use super::interpreter::Interpreter;
use super::job::Job;
use super::lock::Lock;
use super::progress::News;
use super::requirements::Requirements;
use super::store::RESOLVED;
use super::{Environment, EnvironmentStore};

/// A lock that was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relock {
    /// The packages of the lock that is in use, with versions; none when there is none yet.
    pub before: Option<Vec<String>>,
    /// Those of the new one.
    pub after: Vec<String>,
    /// The text of the new one.
    pub text: String,
}

impl EnvironmentStore {
    /// Resolves requirements anew, whatever is locked. With `keep` the lock is kept for [`Self::sync`]; what is in use stays in
    /// use.
    ///
    /// # Errors
    /// As [`Self::ensure`] where packages cannot be had.
    pub async fn relock(&self, requirements: &Requirements, keep: bool) -> Result<Relock, EnvironmentError> {
        let requirements = self.with_server_wide(requirements)?;
        let (interpreter, request) = self.request(&requirements).await?;
        if requirements.is_empty() {
            let text = Lock::default().to_text(&[]);
            return Ok(Relock { before: Some(Vec::new()), after: Vec::new(), text });
        }
        let news = self.news_of(&request);
        let work = self.relock_request(&request, &interpreter, &requirements, &news, keep);
        news.passed_on(work).await
    }

    async fn relock_request(
        &self,
        request: &str,
        interpreter: &Interpreter,
        requirements: &Requirements,
        news: &News,
        keep: bool,
    ) -> Result<Relock, EnvironmentError> {
        let before = self.kept_lock(request)?.map(|lock| lock.packages());
        let job = Job { request, interpreter, requirements, uv: self.uv()?, news };
        let held = self.lock(request, Instant::now() + self.build_timeout()).await?;
        let work = self.root().join(request);
        remove(&work).await?;
        tokio::fs::create_dir(&work).await.map_err(EnvironmentError::io("create", &work))?;
        let resolved = Box::pin(self.resolve(&job, &mut self.sources(&job, &work), &held)).await;
        // What stays behind of a failure to remove it is a leftover, which the next start removes.
        drop(remove(&work).await);
        let lock = resolved?;
        let text = lock.to_text(&job.head());
        if keep {
            let (path, text) = (self.next_lock_path(request), text.clone());
            let failed = EnvironmentError::io("write", path.clone());
            blocking(move || write_whole(&path, &text)).await.map_err(failed)?;
        }
        Ok(Relock { before, after: lock.packages(), text })
    }

    /// Builds the environment of the lock that [`Self::relock`] kept, and takes both into use; where it kept none, the lock that is
    /// in use is built.
    ///
    /// # Errors
    /// It cannot be built; then everything is as it was.
    pub async fn sync(&self, requirements: &Requirements) -> Result<Arc<Environment>, EnvironmentError> {
        let requirements = self.with_server_wide(requirements)?;
        let (interpreter, request) = self.request(&requirements).await?;
        let next = self.next_lock_path(&request);
        let Some(lock) = read_lock(&next)? else { return self.ensure_exactly(&requirements).await };
        self.index().check_lock(&lock)?;
        let slot = self.slot(&request);
        let mut state = slot.state.lock().await;
        let news = self.news_of(&request);
        let job = Job {
            request: &request,
            interpreter: &interpreter,
            requirements: &requirements,
            uv: self.uv()?,
            news: &news,
        };
        let work = self.root().join(&request);
        let build = async {
            let _held = self.lock(&request, Instant::now() + self.build_timeout()).await?;
            remove(&work).await?;
            tokio::fs::create_dir(&work).await.map_err(EnvironmentError::io("create", &work))?;
            Box::pin(self.environment(&job, &lock, Some(&mut self.sources(&job, &work)))).await
        };
        let built = news.passed_on(build).await;
        drop(remove(&work).await);
        let environment = Arc::new(built?);
        let kept = self.lock_path(&request);
        fs::rename(&next, &kept).map_err(EnvironmentError::io("take into use", &next))?;
        state.ready = Some(Arc::clone(&environment));
        // Every trigger that asks for the same looks again.
        self.generation_counter().fetch_add(1, Ordering::Release);
        Ok(environment)
    }

    /// The interpreter for these, and their digest; an error where they may not be installed.
    async fn request(&self, requirements: &Requirements) -> Result<(Interpreter, String), EnvironmentError> {
        self.admit(requirements)?;
        let interpreter = self.interpreters().find(requirements.requires_python()).await?;
        let request = request_id(&interpreter, requirements, &self.index().places());
        Ok((interpreter, request))
    }

    fn news_of(&self, request: &str) -> News {
        self.slot(request).news.clone()
    }

    fn next_lock_path(&self, request: &str) -> PathBuf {
        self.root().join(RESOLVED).join(format!("{request}.next.txt"))
    }
}

fn read_lock(path: &Path) -> Result<Option<Lock>, EnvironmentError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let unusable = |reason| EnvironmentError::Lock { path: path.to_owned(), reason };
            Lock::parse(&text).map(Some).map_err(unusable)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EnvironmentError::io("read", path)(error)),
    }
}

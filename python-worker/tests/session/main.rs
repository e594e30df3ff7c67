//! The worker as the runner sees it: every scenario runs on every interpreter of the machine, with
//! the one extension that was built.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on fails")]

/// Declares tests: each scenario runs on all interpreters.
macro_rules! on_every_python {
    ($($(#[$meta:meta])* async fn $name:ident($python:ident) $body:block)+) => {$(
        $(#[$meta])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for $python in crate::world::pythons() {
                crate::world::announce($python);
                $body
            }
        }
    )+};
}

mod api;
mod cache;
mod calls;
mod cancelling;
mod capturing;
mod ending;
mod line_builder;
mod loading;
mod responses;
mod rows;
mod world;

//! The embedded host from outside: what a front end relies on.

mod feed;
mod queries;
mod recovery;
mod snapshots;
mod world;
mod writes;

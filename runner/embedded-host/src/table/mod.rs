//! The committed state: databases, their tables, and each table's rows in memory and in files.

mod chunk;
mod data;
mod database;

pub(crate) use self::chunk::Chunk;
pub(crate) use self::data::{DataFile, TableData, TableSnapshot};
pub(crate) use self::database::{Database, State};

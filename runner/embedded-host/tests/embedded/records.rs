//! Records that are committed with rows.

use std::sync::Arc;

use bulkhead_embedded_host::{EmbeddedHost, Record, RecordStore};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::world::{START, World, rows, write};

/// A store in memory that outlives its hosts, with what would be on its disk apart.
#[derive(Debug, Default)]
struct Store(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    applied: u64,
    taken: Vec<(u64, Record)>,
    durable: Option<u64>,
    stored: Vec<(u64, Record)>,
}

impl Store {
    /// What a crash leaves of it.
    fn after_a_crash(&self) -> Arc<Self> {
        let kept = self.0.lock();
        let (durable, stored) = (kept.durable, kept.stored.clone());
        Arc::new(Self(Mutex::new(Kept { durable, stored, ..Kept::default() })))
    }

    fn values(&self) -> Vec<String> {
        let kept = self.0.lock();
        let all = kept.stored.iter().chain(&kept.taken);
        all.map(|(sequence, record)| {
            format!("{sequence} {} {}", record.key, String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"-")))
        })
        .collect()
    }
}

impl RecordStore for Store {
    fn durable(&self) -> Option<u64> {
        self.0.lock().durable
    }

    fn apply(&self, sequence: u64, records: Vec<Record>) {
        let mut kept = self.0.lock();
        kept.applied = sequence;
        kept.taken.extend(records.into_iter().map(|record| (sequence, record)));
    }

    fn wants_sync(&self) -> bool {
        false
    }

    fn sync(&self) -> Result<(), String> {
        let mut kept = self.0.lock();
        let taken = std::mem::take(&mut kept.taken);
        kept.stored.extend(taken);
        kept.durable = Some(kept.applied);
        Ok(())
    }
}

async fn open(world: &World, store: &Arc<Store>) -> EmbeddedHost {
    let mut config = world.config();
    config.records = Arc::clone(store) as _;
    EmbeddedHost::open(config).await.unwrap()
}

fn set(key: &str, value: &'static str) -> Vec<Record> {
    vec![Record { key: key.to_owned(), value: Some(Bytes::from_static(value.as_bytes())) }]
}

fn lines(database: &str, lines: &'static str) -> (String, Bytes) {
    (database.to_owned(), Bytes::from_static(lines.as_bytes()))
}

#[tokio::test]
async fn a_commit_holds_rows_and_records_and_both_survive_a_crash() {
    let world = World::new();
    let store = Arc::new(Store::default());
    let host = open(&world, &store).await;
    let refused = host.commit_all(vec![lines("a", "m v=1 1"), lines("b", "m v=2")], 7, set("at", "1")).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    host.commit_all(Vec::new(), 7, vec![Record { key: "at".to_owned(), value: None }]).await.unwrap();
    assert_eq!(*host.head().borrow(), 2);
    assert_eq!(host.read_commit(1).await.unwrap().unwrap().databases.len(), 0);
    assert_eq!(store.values(), ["1 at 1", "2 at -"]);
    drop(host);
    let store = store.after_a_crash();
    let host = open(&world, &store).await;
    assert_eq!(store.values(), ["1 at 1", "2 at -"]);
    assert_eq!(rows(&host, "b", "select v, cast(time as bigint) from m").await, ["2.0 7"]);
}

#[tokio::test]
async fn a_database_that_refuses_its_lines_leaves_the_rest_of_the_commit_as_it_is() {
    let world = World::new();
    let store = Arc::new(Store::default());
    let host = open(&world, &store).await;
    let writes = vec![
        lines("good", "m v=1 1"),
        lines("bad", "m v=1 1\nm 2"),
        lines("_internal", "m v=1"),
        lines("b d", "m v=1"),
    ];
    let refused = host.commit_all(writes, START, set("at", "1")).await.unwrap();
    let mut reasons: Vec<String> = refused.iter().map(|it| format!("{}: {}", it.database, it.error)).collect();
    reasons.sort();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert_eq!(reasons[0], "_internal: database `_internal` is read-only");
    assert!(reasons[1].starts_with("b d: invalid character"), "{reasons:?}");
    assert_eq!(reasons[2], "bad: line protocol parse failed: No fields were provided");
    assert_eq!((host.list_databases(), store.values()), (vec!["good".to_owned()], vec!["1 at 1".to_owned()]));
}

#[tokio::test]
async fn the_log_keeps_records_until_their_store_is_durable() {
    let world = World::new();
    let mut store = Arc::new(Store::default());
    for round in 1..=3 {
        store = store.after_a_crash();
        let host = open(&world, &store).await;
        host.commit_all(vec![lines("d", "m v=1")], round, set("at", "x")).await.unwrap();
        host.snapshot().await.unwrap();
        write(&host, "d", &format!("m v=2 {}", 100 + round)).await;
    }
    // Nobody has made the store durable but the removal of segments, which went no further.
    let store = store.after_a_crash();
    let _host = open(&world, &store).await;
    let sequences: Vec<String> = store.values();
    assert_eq!(sequences, ["1 at x", "3 at x", "5 at x"]);
}

//! What a restart finds.

use std::fs::{self, OpenOptions};
use std::io::Write;

use bulkhead_embedded_host::{EmbeddedHost, OpenError};

use crate::world::{World, rows, write};

#[tokio::test]
async fn everything_is_there_after_a_close_and_after_a_drop() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m,t=a v=1 1").await;
    host.create_database("empty").await.unwrap();
    host.close().await;
    let host = world.open().await;
    assert_eq!(host.recovery().rows_replayed, 1);
    assert_eq!(host.list_databases(), ["d", "empty"]);
    write(&host, "d", "m,t=a v=2 2").await;
    host.delete_database("empty").await.unwrap();
    drop(host);
    let host = world.open().await;
    assert_eq!(host.recovery().last_sequence, 4);
    assert_eq!(host.list_databases(), ["d"]);
    assert_eq!(rows(&host, "d", "select t, v from m order by time").await, ["a 1.0", "a 2.0"]);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_the_good_part_kept() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m v=1 1").await;
    write(&host, "d", "m v=2 2").await;
    drop(host);
    let segment = world.segments().pop().unwrap();
    let length = fs::metadata(&segment).unwrap().len();
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 7).unwrap();
    let host = world.open().await;
    let recovery = host.recovery();
    assert_eq!((recovery.entries_replayed, recovery.last_sequence), (1, 1));
    assert!(recovery.bytes_cut > 0);
    assert_eq!(rows(&host, "d", "select v from m").await, ["1.0"]);
    // The log goes on where the good part ends, and the next start has nothing to cut.
    write(&host, "d", "m v=3 3").await;
    drop(host);
    let host = world.open().await;
    assert_eq!(host.recovery().bytes_cut, 0);
    assert_eq!(rows(&host, "d", "select v from m order by time").await, ["1.0", "3.0"]);
}

#[tokio::test]
async fn garbage_behind_the_last_entry_is_cut_and_a_torn_header_too() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m v=1 1").await;
    drop(host);
    let segment = world.segments().pop().unwrap();
    OpenOptions::new().append(true).open(&segment).unwrap().write_all(&[0; 100]).unwrap();
    fs::write(world.wal_dir().join("00000000000000000002.wal"), b"BULK").unwrap();
    // The segment before the last one has a bad end, which no crash leaves.
    assert!(matches!(world.open_error().await, OpenError::Corrupt { .. }));
    fs::remove_file(world.wal_dir().join("00000000000000000002.wal")).unwrap();
    let host = world.open().await;
    assert_eq!(host.recovery().bytes_cut, 100);
    drop(host);
    fs::write(world.wal_dir().join("00000000000000000002.wal"), b"BULK").unwrap();
    let host = world.open().await;
    assert_eq!(host.recovery().bytes_cut, 4);
    assert_eq!(rows(&host, "d", "select v from m").await, ["1.0"]);
}

#[tokio::test]
async fn corruption_that_no_crash_explains_is_refused() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m v=1 1").await;
    write(&host, "d", "m v=2 2").await;
    drop(host);
    let segment = world.segments().pop().unwrap();
    let good = fs::read(&segment).unwrap();
    let mut bad = good.clone();
    bad[60] ^= 1;
    fs::write(&segment, &bad).unwrap();
    let error = world.open_error().await;
    let OpenError::Corrupt { path, offset, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((path, *offset), (&segment, 16));
    fs::write(&segment, &good).unwrap();
    assert_eq!(world.open().await.recovery().rows_replayed, 2);
}

#[tokio::test]
async fn a_newer_format_and_a_missing_segment_are_refused() {
    let world = World::new();
    for time in 1..=2 {
        let host = world.open().await;
        write(&host, "d", &format!("m v=1 {time}")).await;
    }
    let host = world.open().await;
    write(&host, "d", "m v=1 3").await;
    drop(host);
    let segments = world.segments();
    assert_eq!(segments.len(), 3);
    let good = fs::read(&segments[2]).unwrap();
    let mut newer = good.clone();
    newer[8] = 3;
    fs::write(&segments[2], &newer).unwrap();
    let error = world.open_error().await.to_string();
    assert!(error.ends_with("has format version 3, this program reads up to 2"), "{error}");
    fs::write(&segments[2], &good).unwrap();
    let middle = fs::read(&segments[1]).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    assert!(matches!(world.open_error().await, OpenError::Gap { expected: 2, found: 3 }));
    fs::write(&segments[1], &middle).unwrap();
    assert_eq!(rows(&world.open().await, "d", "select count(*) from m").await, ["3"]);
}

#[tokio::test]
async fn a_directory_belongs_to_one_host_at_a_time() {
    let world = World::new();
    let host = world.open().await;
    assert!(matches!(world.open_error().await, OpenError::InUse(_)));
    host.close().await;
    let second = EmbeddedHost::open(world.config()).await.unwrap();
    write(&second, "d", "m v=1 1").await;
}

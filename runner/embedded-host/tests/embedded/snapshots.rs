//! Snapshots, and what they let go.

use std::time::Duration;

use bulkhead_embedded_host::{EmbeddedHost, ReadError, WriteError};

use crate::world::{World, rows, try_write, write};

#[tokio::test]
async fn rows_are_the_same_before_and_after_a_snapshot_and_a_restart() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m,t=a v=1,s=\"x\",b=true,i=1i,u=1u 1\nm,t=b v=2 2").await;
    let sql = "select * from m order by time, t";
    let before = rows(&host, "d", sql).await;
    host.snapshot().await.unwrap();
    assert_eq!(world.parquet_files().len(), 1);
    assert_eq!(rows(&host, "d", sql).await, before);
    // A column that the file lacks, and a row beside the file's.
    write(&host, "d", "m,t=c v=3,extra=1i 3").await;
    assert_eq!(rows(&host, "d", "select t, v, extra from m order by time").await, ["a 1.0 -", "b 2.0 -", "c 3.0 1"]);
    drop(host);
    let host = world.open().await;
    assert_eq!((host.recovery().covered_sequence, host.recovery().rows_replayed), (1, 1));
    assert_eq!(rows(&host, "d", "select t, v, extra from m order by time").await, ["a 1.0 -", "b 2.0 -", "c 3.0 1"]);
    assert_eq!(rows(&host, "d", "select t from m where time < '1970-01-01T00:00:00.000000002Z'").await, ["a"]);
}

#[tokio::test]
async fn duplicates_across_files_memory_and_restarts_are_merged() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m,t=a v=1,w=1 1\nm,t=a v=2 5").await;
    host.snapshot().await.unwrap();
    write(&host, "d", "m,t=a v=3 1").await;
    host.snapshot().await.unwrap();
    drop(host);
    let host = world.open().await;
    assert_eq!(rows(&host, "d", "select v, w from m order by time").await, ["3.0 1.0", "2.0 -"]);
    write(&host, "d", "m,t=a w=9 5\nm,t=a v=7 9").await;
    let expected = ["3.0 1.0", "2.0 9.0", "7.0 -"];
    assert_eq!(rows(&host, "d", "select v, w from m order by time").await, expected);
    host.snapshot().await.unwrap();
    assert_eq!(rows(&host, "d", "select v, w from m order by time").await, expected);
    assert_eq!(rows(&host, "d", "select count(v) from m").await, ["3"]);
    assert_eq!(world.parquet_files().len(), 3);
}

#[tokio::test]
async fn segments_go_when_they_are_covered_and_released() {
    let world = World::new();
    let host = world.open().await;
    host.release_up_to(1);
    for time in 1..=4 {
        write(&host, "d", &format!("m v={time} {time}")).await;
        // The next write begins a new segment.
        host.snapshot().await.unwrap();
    }
    // Of four segments the first is released; the second holds what a reader still needs.
    assert_eq!(world.segments().len(), 3);
    assert!(matches!(host.read_commit(1).await, Ok(Some(commit)) if commit.sequence == 2));
    host.release_up_to(3);
    while world.segments().len() > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(host);
    let host = world.open().await;
    assert_eq!(host.recovery().entries_replayed, 0);
    assert!(matches!(host.read_commit(0).await, Err(ReadError::Gone { wanted: 1, oldest: 4 })));
    assert!(matches!(host.read_commit(3).await, Ok(Some(commit)) if commit.sequence == 4));
    assert_eq!(rows(&host, "d", "select sum(v) from m").await, ["10.0"]);
    write(&host, "d", "m v=5 5").await;
    drop(host);
    assert_eq!(rows(&world.open().await, "d", "select sum(v) from m").await, ["15.0"]);
}

#[tokio::test]
async fn a_snapshot_is_taken_when_the_log_has_grown() {
    let world = World::new();
    let mut config = world.config();
    config.snapshot_bytes = 4_000;
    let host = EmbeddedHost::open(config).await.unwrap();
    let mut time = 0;
    while world.parquet_files().len() < 3 {
        time += 1;
        write(&host, "d", &format!("m v=1 {time}")).await;
        assert_eq!(rows(&host, "d", "select count(*) from m").await, [time.to_string()]);
    }
    host.close().await;
    assert_eq!(rows(&world.open().await, "d", "select count(*) from m").await, [time.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_faster_than_snapshots_are_taken_is_slowed_down_and_not_refused() {
    let world = World::new();
    let mut config = world.config();
    // Each commit is more than may wait for a snapshot.
    config.snapshot_bytes = 1;
    let host = EmbeddedHost::open(config).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let host = host.clone();
        writers.spawn(async move {
            for time in 0..25 {
                write(&host, "d", &format!("m,t={writer} v=1 {time}")).await;
            }
        });
    }
    writers.join_all().await;
    assert_eq!(rows(&host, "d", "select count(*) from m").await, ["100"]);
    host.close().await;
    assert!(matches!(try_write(&host, "d", "m v=1 1").await, Err(WriteError::Closed)));
    assert_eq!(rows(&world.open().await, "d", "select count(*) from m").await, ["100"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_a_broken_store_leaves_no_room_for_are_refused_until_it_works_again() {
    let world = World::new();
    let mut config = world.config();
    config.snapshot_bytes = 1;
    config.snapshot_retry = Duration::from_millis(1);
    let host = EmbeddedHost::open(config).await.unwrap();
    let in_the_way = world.directory.path().join("store/host");
    std::fs::write(&in_the_way, "").unwrap();
    write(&host, "d", "m v=1 1").await;
    let Err(WriteError::Storage(text)) = try_write(&host, "d", "m v=2 2").await else { panic!("it was written") };
    assert!(text.contains("wait for a snapshot") && text.contains("the last one failed: cannot store"), "{text}");
    assert_eq!(rows(&host, "d", "select v from m").await, ["1.0"]);
    std::fs::remove_file(&in_the_way).unwrap();
    while try_write(&host, "d", "m v=2 2").await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    host.close().await;
    assert_eq!(rows(&world.open().await, "d", "select v from m order by time").await, ["1.0", "2.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_seen_twice_or_missed_while_snapshots_run() {
    let world = World::new();
    let host = world.open().await;
    let snapshots = host.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        for _ in 0..20 {
            snapshots.snapshot().await.unwrap();
        }
    });
    for time in 1..=60 {
        write(&host, "d", &format!("m v=1 {time}\nm v=1 {}", time - 1)).await;
        assert_eq!(rows(&host, "d", "select count(*) from m").await, [(time + 1).to_string()]);
    }
    tasks.join_all().await;
    drop(host);
    assert_eq!(rows(&world.open().await, "d", "select count(*) from m").await, ["61"]);
}

#[tokio::test]
async fn a_deleted_database_stays_deleted_and_its_files_go() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m v=1 1").await;
    host.snapshot().await.unwrap();
    write(&host, "d", "m v=2 2").await;
    host.delete_database("d").await.unwrap();
    write(&host, "keep", "m v=1 1").await;
    drop(host);
    let host = world.open().await;
    assert_eq!(host.list_databases(), ["keep"]);
    assert!(world.parquet_files().is_empty());
    write(&host, "d", "m v=3 3").await;
    host.snapshot().await.unwrap();
    drop(host);
    assert_eq!(rows(&world.open().await, "d", "select v from m").await, ["3.0"]);
}

#[tokio::test]
async fn old_manifests_are_removed() {
    let world = World::new();
    let host = world.open().await;
    for time in 1..=6 {
        write(&host, "d", &format!("m v=1 {time}")).await;
        host.snapshot().await.unwrap();
        host.snapshot().await.unwrap();
    }
    let manifests = std::fs::read_dir(world.directory.path().join("store/host/manifest")).unwrap();
    assert_eq!(manifests.count(), 3);
}

//! What a restart finds.

use std::fs::{self, OpenOptions};
use std::io::Write;

use bulkhead_embedded_host::{EmbeddedHost, OpenError, ReadError};

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
    // The segment before the last one has a bad end, which no crash leaves; no entry is missing, though.
    let host = world.open().await;
    assert_eq!((host.recovery().bytes_cut, host.recovery().entries_lost), (4, 0));
    drop(host);
    OpenOptions::new().append(true).open(&segment).unwrap().write_all(&[0; 100]).unwrap();
    let host = world.open().await;
    assert_eq!(host.recovery().bytes_cut, 100);
    drop(host);
    fs::write(world.wal_dir().join("00000000000000000002.wal"), b"BULK").unwrap();
    let host = world.open().await;
    assert_eq!(host.recovery().bytes_cut, 4);
    assert_eq!(rows(&host, "d", "select v from m").await, ["1.0"]);
}

/// Twenty entries with a row each, in one segment. The first one makes the database.
async fn twenty(world: &World) -> std::path::PathBuf {
    let host = world.open().await;
    for time in 1..=20 {
        write(&host, "d", &format!("m v={time} {time}")).await;
    }
    drop(host);
    world.segments().pop().unwrap()
}

/// Where the entries of a segment begin.
fn places(segment: &[u8]) -> Vec<usize> {
    let mut places = vec![16];
    loop {
        let at = *places.last().unwrap();
        let length = u32::from_le_bytes(*segment[at..].first_chunk().unwrap()) as usize;
        if at + 24 + length == segment.len() {
            return places;
        }
        places.push(at + 24 + length);
    }
}

#[tokio::test]
async fn damage_that_no_crash_explains_is_set_aside_and_the_rest_goes_on() {
    let world = World::new();
    let segment = twenty(&world).await;
    let good = fs::read(&segment).unwrap();
    let places = places(&good);
    assert_eq!(places.len(), 20);
    // In two places, the second one in a length, so that nothing says where the next entry begins.
    let mut bad = good.clone();
    bad[places[4] + 60] ^= 1;
    bad[places[11]] ^= 0xFF;
    fs::write(&segment, &bad).unwrap();

    let host = world.open().await;
    let recovery = host.recovery();
    assert_eq!((recovery.entries_lost, recovery.last_sequence, recovery.bytes_cut), (2, 20, 0));
    let expected: Vec<String> = (1..=20).filter(|v| ![5, 12].contains(v)).map(|v| format!("{v}.0")).collect();
    assert_eq!(rows(&host, "d", "select v from m order by time").await, expected);
    // Readers are told which commits are missing, and get the others.
    let read = host.read_commit(4).await.unwrap_err();
    assert!(matches!(read, ReadError::Gone { wanted: 5, oldest: 6 }), "{read}");
    assert_eq!(host.read_commit(5).await.unwrap().unwrap().sequence, 6);
    write(&host, "d", "m v=21 21").await;
    drop(host);

    // What was set aside is there as it was, and is no reason to refuse the next start.
    let quarantine = world.wal_dir().join("quarantine");
    let name = |from: u64, to: u64| quarantine.join(format!("{from:020}-{to:020}.wal"));
    assert_eq!(fs::read(name(5, 5)).unwrap(), bad);
    assert!(name(12, 12).exists());
    let host = world.open().await;
    assert_eq!((host.recovery().entries_lost, host.recovery().last_sequence), (0, 21));
    assert_eq!(rows(&host, "d", "select count(*) from m").await, ["19"]);
}

#[tokio::test]
async fn a_segment_that_is_unreadable_from_its_beginning_is_set_aside() {
    let world = World::new();
    for time in 1..=3 {
        let host = world.open().await;
        write(&host, "d", &format!("m v={time} {time}")).await;
    }
    let segments = world.segments();
    fs::write(&segments[1], vec![7; 300]).unwrap();
    let host = world.open().await;
    assert_eq!((host.recovery().entries_lost, host.recovery().last_sequence), (1, 3));
    assert_eq!(rows(&host, "d", "select v from m order by time").await, ["1.0", "3.0"]);
}

/// Whatever byte is damaged, no good entry is lost with it, and nothing is silent.
#[tokio::test]
async fn one_damaged_byte_costs_one_entry_at_most() {
    let world = World::new();
    let segment = twenty(&world).await;
    let good = fs::read(&segment).unwrap();
    let mut chance = fastrand::Rng::with_seed(9);
    for _ in 0..30 {
        for file in world.segments() {
            fs::remove_file(file).unwrap();
        }
        let place = chance.usize(16..good.len());
        let mut bad = good.clone();
        bad[place] ^= chance.u8(1..);
        fs::write(&segment, &bad).unwrap();
        let host = world.open().await;
        let recovery = host.recovery();
        let kept = rows(&host, "d", "select count(*) from m").await;
        assert_eq!(kept, ["19"], "byte {place}");
        // The end of the log cannot be told from what a crash tears.
        assert!(recovery.entries_lost == 1 || recovery.bytes_cut > 0, "byte {place}");
    }
}

#[tokio::test]
async fn damage_that_comes_while_the_host_runs_is_set_aside_too() {
    let world = World::new();
    twenty(&world).await;
    let host = world.open().await;
    let segment = world.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let place = places(&bytes)[9];
    bytes[place + 60] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let read = host.read_commit(9).await.unwrap_err();
    assert!(matches!(read, ReadError::Corrupt { .. }), "{read}");
    assert_eq!(host.read_commit(10).await.unwrap().unwrap().sequence, 11);
    assert!(world.wal_dir().join("quarantine").join(format!("{0:020}-{0:020}.wal", 10)).exists());
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

//! Writing: types, errors, limits, databases.

use std::time::Duration;

use bulkhead_embedded_host::{DatabaseError, EmbeddedHost, LineError, NameError, Precision, WriteError, WriteReport};
use bytes::Bytes;

use crate::world::{START, World, request, rows, try_write, write};

#[tokio::test]
async fn every_type_reads_back() {
    let world = World::new();
    let host = world.open().await;
    let report = write(
        &host,
        "d",
        "m,tag1=a,tag2=b f=1.5,i=3i,u=7u,s=\"str \\\"q\\\" é\",b=true 1700000000000000000\nm f=2 2\n",
    )
    .await;
    assert_eq!(report, WriteReport { rows: 2, sequence: Some(1) });
    assert_eq!(
        rows(&host, "d", "select * from m order by time").await,
        ["- 2.0 - - - - 1970-01-01T00:00:00.000000002 -", "true 1.5 3 str \"q\" é a b 2023-11-14T22:13:20 7"]
    );
}

#[tokio::test]
async fn rows_of_the_same_series_and_time_are_one_row() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m,t=a v=1,w=1 1\nm,t=b v=2 1").await;
    write(&host, "d", "m,t=a v=3 1\nm,t=a x=4 1\nm,t=a v=9 2").await;
    let expected = ["a 3.0 1.0 4.0", "a 9.0 - -", "b 2.0 - -"];
    assert_eq!(rows(&host, "d", "select t, v, w, x from m order by t, time").await, expected);
    // A filter on a field sees the merged row, not one that was overwritten.
    assert_eq!(rows(&host, "d", "select count(*) from m where v = 1").await, ["0"]);
    assert_eq!(rows(&host, "d", "select count(*) from m").await, ["3"]);
    host.snapshot().await.unwrap();
    assert_eq!(rows(&host, "d", "select t, v, w, x from m order by t, time").await, expected);
    write(&host, "d", "m,t=b v=5 1").await;
    assert_eq!(rows(&host, "d", "select t, v from m where t = 'b'").await, ["b 5.0"]);
    assert_eq!(rows(&host, "d", "select count(*) from m where v = 2").await, ["0"]);
}

#[tokio::test]
async fn partial_writes_commit_the_good_lines_and_report_the_bad() {
    let world = World::new();
    let host = world.open().await;
    let mut partial = request("d", "ok v=1 1\nbad line here\nok v=2 2\nok v=\"x\" 3");
    partial.accept_partial = true;
    let Err(WriteError::Partial(errors)) = host.write(partial).await else {
        panic!("the write should be partial");
    };
    let conflict = "invalid column type for column 'v', expected iox::column_type::field::float, got iox::column_type::field::string";
    let error = |error_message: &str, line_number, original_line: &str| LineError {
        error_message: error_message.to_owned(),
        line_number,
        original_line: original_line.to_owned(),
    };
    assert_eq!(errors, [error("No fields were provided", 2, "bad line here"), error(conflict, 4, "ok v=\"x\" 3")]);
    assert_eq!(rows(&host, "d", "select v from ok order by time").await, ["1.0", "2.0"]);

    let mut all_bad = request("e", "bad line here");
    all_bad.accept_partial = true;
    assert!(matches!(host.write(all_bad).await, Err(WriteError::Partial(errors)) if errors.len() == 1));
    assert!(!host.database_exists("e"));
}

#[tokio::test]
async fn without_partial_one_bad_line_refuses_all_and_leaves_no_trace() {
    let world = World::new();
    let host = world.open().await;
    let error = try_write(&host, "d", "a x=1 1\nbad line\nb y=1 1").await.unwrap_err();
    assert_eq!(error.to_string(), "line protocol parse failed: No fields were provided");
    assert!(matches!(error, WriteError::Parse(LineError { line_number: 2, .. })));
    assert!(!host.database_exists("d"));
    // The refused write's column type binds nobody.
    write(&host, "d", "a x=\"text\" 1").await;
    assert_eq!(*host.head().borrow(), 1);
}

#[tokio::test]
async fn timestamps_have_a_unit_and_a_default() {
    let world = World::new();
    let host = world.open().await;
    for (precision, timestamp) in [
        (Precision::Auto, "1700000000"),
        (Precision::Second, "1700000001"),
        (Precision::Millisecond, "1700000002000"),
        (Precision::Microsecond, "1700000003000000"),
    ] {
        let mut timed = request("d", &format!("m v=1 {timestamp}"));
        timed.precision = precision;
        host.write(timed).await.unwrap();
    }
    let mut defaulted = request("d", "m v=1");
    defaulted.default_time = Some(5);
    host.write(defaulted).await.unwrap();
    write(&host, "d", "m v=1").await;
    let times = rows(&host, "d", "select cast(time as bigint) as t from m order by t").await;
    assert_eq!(times[0], "5");
    let now: i64 = times[1].parse().unwrap();
    assert!((START..START + 100).contains(&now), "{now}");
    let expected: Vec<String> = (0..4).map(|second| format!("170000000{second}000000000")).collect();
    assert_eq!(times[2..], expected);
}

#[tokio::test]
async fn databases_are_created_listed_and_deleted() {
    let world = World::new();
    let host = world.open().await;
    host.create_database("d1").await.unwrap();
    assert!(matches!(host.create_database("d1").await, Err(DatabaseError::AlreadyExists)));
    let error = host.create_database("_x").await.unwrap_err();
    assert_eq!(error.to_string(), "db name did not start with a number or letter");
    write(&host, "d2", "m v=1 1").await;
    assert_eq!(host.list_databases(), ["d1", "d2"]);
    host.delete_database("d2").await.unwrap();
    assert!(matches!(host.delete_database("d2").await, Err(DatabaseError::NotFound(name)) if name == "d2"));
    // Nothing of the deleted one is left, not even the type of a column.
    write(&host, "d2", "m v=\"text\" 1").await;
    assert_eq!(rows(&host, "d2", "select v from m").await, ["text"]);
}

#[tokio::test]
async fn bad_names_and_the_internal_database_are_refused() {
    let world = World::new();
    let host = world.open().await;
    let error = try_write(&host, "bad name!", "m v=1").await.unwrap_err();
    assert!(matches!(error, WriteError::Name(NameError::InvalidCharacter)));
    assert_eq!(
        error.to_string(),
        "invalid character in database or rp name: must be ASCII, containing only letters, numbers, underscores, or hyphens"
    );
    assert!(matches!(try_write(&host, "_internal", "m v=1").await, Err(WriteError::ReadOnly(_))));
    assert!(host.database_exists("_internal"));
    let not_utf8 = Bytes::from_static(b"m v=\"\xff\"");
    let error = host.write_all(vec![("d".to_owned(), not_utf8)], None, false).await.unwrap_err();
    assert!(matches!(error, WriteError::NotUtf8(_)));
}

#[tokio::test]
async fn databases_have_a_limit() {
    let world = World::new();
    let host = world.open().await;
    for number in 0..100 {
        host.create_database(&format!("d{number}")).await.unwrap();
    }
    let error = host.create_database("one-more").await.unwrap_err();
    assert_eq!(error.to_string(), "limit `databases` reached: 101 asked for, 100 allowed");
    assert!(matches!(try_write(&host, "one-more", "m v=1").await, Err(WriteError::Limit(_))));
    write(&host, "d7", "m v=1").await;
}

#[tokio::test]
async fn write_all_commits_everything_or_nothing_in_one_commit() {
    let world = World::new();
    let host = world.open().await;
    let body = |lines: &str| Bytes::copy_from_slice(lines.as_bytes());
    let writes =
        vec![("a".to_owned(), body("m v=1 1")), ("b".to_owned(), body("m v=2 1")), ("a".to_owned(), body("m w=3 2"))];
    host.write_all(writes, None, false).await.unwrap();
    let commit = host.read_commit(0).await.unwrap().unwrap();
    assert_eq!(commit.databases.iter().map(|it| it.database.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(rows(&host, "a", "select v, w from m order by time").await, ["1.0 -", "- 3.0"]);

    let writes = vec![("a".to_owned(), body("m v=9 9")), ("c".to_owned(), body("m v=1 1\nnonsense"))];
    let error = host.write_all(writes, None, false).await.unwrap_err();
    assert!(matches!(error, WriteError::Parse(LineError { line_number: 2, .. })));
    assert_eq!(host.list_databases(), ["a", "b"]);
    assert_eq!(*host.head().borrow(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_share_commits() {
    let world = World::new();
    let mut config = world.config();
    config.wal_flush_interval = Duration::from_millis(20);
    let host = EmbeddedHost::open(config).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..50 {
        let host = host.clone();
        writers.spawn(async move { write(&host, "d", &format!("m,n={number} v={number}i 1\nt{number} v=1 1")).await });
    }
    let reports = writers.join_all().await;
    assert!(reports.iter().all(|report| report.sequence.is_some()));
    assert_eq!(rows(&host, "d", "select count(*), sum(v) from m").await, ["50 1225"]);
    let commits = *host.head().borrow();
    assert!(commits < 25, "{commits} commits for 50 writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_that_disagree_on_a_type_get_one_winner() {
    let world = World::new();
    let mut config = world.config();
    config.wal_flush_interval = Duration::from_millis(20);
    let host = EmbeddedHost::open(config).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let host = host.clone();
        let value = if number % 2 == 0 { "1i" } else { "\"one\"" };
        writers.spawn(async move { try_write(&host, "d", &format!("m v={value} {number}")).await.is_ok() });
    }
    let won = writers.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 10);
    assert_eq!(rows(&host, "d", "select count(*) from m").await, ["10"]);
}

#[tokio::test]
async fn a_write_without_sync_is_kept_when_the_host_goes_away() {
    let world = World::new();
    let mut config = world.config();
    config.wal_flush_interval = Duration::from_secs(60);
    let host = EmbeddedHost::open(config).await.unwrap();
    let mut unsynced = request("d", "m v=1 1");
    unsynced.no_sync = true;
    assert_eq!(host.write(unsynced).await.unwrap(), WriteReport { rows: 1, sequence: None });
    drop(host);
    let host = world.open().await;
    assert_eq!(rows(&host, "d", "select v from m").await, ["1.0"]);
}

#[tokio::test]
async fn a_closed_host_says_so() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m v=1 1").await;
    host.close().await;
    host.close().await;
    assert!(matches!(try_write(&host, "d", "m v=1 1").await, Err(WriteError::Closed)));
    assert!(matches!(host.create_database("x").await, Err(DatabaseError::Closed)));
    let error = crate::world::query_error(&host, "d", "select 1").await;
    assert_eq!(error.to_string(), "the embedded host is closed");
}

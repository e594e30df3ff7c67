//! The feed of commits.

use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use bulkhead_embedded_host::EmbeddedHost;

use crate::world::{START, World, formatted, write};

#[tokio::test]
async fn commits_are_read_in_order_from_memory_and_from_disk() {
    let world = World::new();
    for recent_bytes_max in [1_000_000, 0] {
        let mut config = world.config();
        config.recent_bytes_max = recent_bytes_max;
        let host = EmbeddedHost::open(config).await.unwrap();
        let start = *host.head().borrow();
        for number in 1..=100 {
            write(&host, "d", &format!("m v={number}i {number}")).await;
        }
        let mut after = 0;
        while let Some(commit) = host.read_commit(after).await.unwrap() {
            assert_eq!(commit.sequence, after + 1);
            let value = (after % 100) + 1;
            let rows = &commit.databases[0].tables[0];
            let batches: Vec<_> = StreamReader::try_new(&rows.ipc[..], None).unwrap().map(Result::unwrap).collect();
            assert_eq!(formatted(&batches)[0].split(' ').next(), Some(value.to_string().as_str()));
            assert_eq!(rows.rows, 1);
            after = commit.sequence;
        }
        assert_eq!(after, start + 100);
    }
}

#[tokio::test]
async fn a_commit_holds_only_the_columns_that_were_written_in_their_order() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", "m,z=1,a=2 other=1,first=2 1").await;
    write(&host, "d", "m,a=2 y=1i,b=\"x\" 2\nn v=1 1").await;
    let commit = host.read_commit(1).await.unwrap().unwrap();
    assert!(commit.recorded_at_ns >= START);
    let tables = &commit.databases[0].tables;
    assert_eq!(tables.iter().map(|it| it.table.as_str()).collect::<Vec<_>>(), ["m", "n"]);
    let schema = StreamReader::try_new(&tables[0].ipc[..], None).unwrap().schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["a", "y", "b", "time"]);
    assert!(matches!(schema.field(0).data_type(), DataType::Dictionary(_, _)));
}

#[tokio::test]
async fn the_head_wakes_a_waiting_reader() {
    let world = World::new();
    let host = world.open().await;
    let mut head = host.head();
    assert!(host.read_commit(0).await.unwrap().is_none());
    host.create_database("d").await.unwrap();
    head.changed().await.unwrap();
    let commit = host.read_commit(0).await.unwrap().unwrap();
    assert_eq!((commit.sequence, commit.databases.len()), (1, 0));
}

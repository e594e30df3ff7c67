//! SQL.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bulkhead_embedded_host::{EmbeddedHost, ParameterValue, QueryError, SystemTables};

use crate::world::{World, batches, formatted, query_error, rows, write};

const LINE: &str = "m,tag1=a,tag2=b f=1.5,i=3i,u=7u,s=\"x\",b=true 1";

#[derive(Debug)]
struct OneTable;

impl OneTable {
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("trigger_name", DataType::Utf8, false)]))
    }
}

impl SystemTables for OneTable {
    fn tables(&self, _database: &str) -> Vec<(String, SchemaRef)> {
        vec![("triggers".to_owned(), Self::schema())]
    }

    fn scan(&self, database: &str, table: &str) -> Option<RecordBatch> {
        assert_eq!(table, "triggers");
        let name = StringArray::from(vec![format!("of {database}")]);
        RecordBatch::try_new(Self::schema(), vec![Arc::new(name)]).ok()
    }
}

#[tokio::test]
async fn types_are_the_incumbents() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", LINE).await;
    let sql = "select column_name, data_type, is_nullable from information_schema.columns where table_name = 'm'";
    assert_eq!(
        rows(&host, "d", sql).await,
        [
            "b Boolean YES",
            "f Float64 YES",
            "i Int64 YES",
            "s Utf8 YES",
            "tag1 Dictionary(Int32, Utf8) YES",
            "tag2 Dictionary(Int32, Utf8) YES",
            "time Timestamp(ns) NO",
            "u UInt64 YES"
        ]
    );
    host.snapshot().await.unwrap();
    let result = batches(&host, "d", "select s, tag1 from m", &[]).await.unwrap();
    assert_eq!(result[0].schema().field(0).data_type(), &DataType::Utf8);
}

#[tokio::test]
async fn show_tables_lists_tables_system_tables_and_the_information_schema() {
    let world = World::new();
    let mut config = world.config();
    config.system_tables = Arc::new(OneTable);
    let host = EmbeddedHost::open(config).await.unwrap();
    write(&host, "d", LINE).await;
    let tables = rows(&host, "d", "show tables").await;
    assert!(tables.contains(&"public iox m BASE TABLE".to_owned()), "{tables:?}");
    assert!(tables.contains(&"public system triggers BASE TABLE".to_owned()), "{tables:?}");
    assert!(tables.contains(&"public information_schema columns VIEW".to_owned()), "{tables:?}");
    assert_eq!(rows(&host, "d", "select * from system.triggers").await, ["of d"]);
    assert_eq!(rows(&host, "_internal", "select count(*) from system.triggers").await, ["1"]);
    assert_eq!(rows(&host, "d", "select m.f from m, system.triggers").await, ["1.5"]);
}

#[tokio::test]
async fn parameters_are_typed() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", LINE).await;
    let sql = "select f from m where tag1 = $tag and i = $i and u = $u and f = $f and b = $b and s <> $s";
    let parameters = [
        ("tag", ParameterValue::String("a".to_owned())),
        ("i", ParameterValue::I64(3)),
        ("u", ParameterValue::U64(7)),
        ("f", ParameterValue::F64(1.5)),
        ("b", ParameterValue::Bool(true)),
        ("s", ParameterValue::String("' or 1=1".to_owned())),
    ];
    assert_eq!(formatted(&batches(&host, "d", sql, &parameters).await.unwrap()), ["1.5"]);
    let null = [("x", ParameterValue::Null)];
    assert_eq!(formatted(&batches(&host, "d", "select count(*) from m where f = $x", &null).await.unwrap()), ["0"]);
    let error = batches(&host, "d", "select $nope", &null).await.unwrap_err();
    assert!(matches!(error, QueryError::Planning(_)), "{error}");
}

#[tokio::test]
async fn errors_have_the_incumbents_texts() {
    let world = World::new();
    let host = world.open().await;
    write(&host, "d", LINE).await;
    for (sql, message) in [
        ("select * from nothere", "Error during planning: table 'public.iox.nothere' not found"),
        ("selec 1", "SQL error: ParserError(\"Expected: an SQL statement, found: selec at Line: 1, Column: 1\")"),
        ("create table x(a int)", "Error during planning: DDL not supported: CreateMemoryTable"),
        ("drop table m", "Error during planning: DDL not supported: DropTable"),
        ("set datafusion.execution.batch_size = 1", "Error during planning: Statement not supported: SetVariable"),
        (
            "select 1; select 2",
            "This feature is not implemented: The context currently only supports a single SQL statement",
        ),
    ] {
        let error = query_error(&host, "d", sql).await;
        assert_eq!(error, QueryError::Planning(message.to_owned()));
        assert_eq!(error.to_string(), format!("error while planning query: {message}"));
    }
    let unknown = query_error(&host, "d", "select nope from m").await.to_string();
    let expected = "error while planning query: Schema error: No field named nope. \
        Valid fields are m.b, m.f, m.i, m.s, m.tag1, m.tag2, m.time, m.u.";
    assert_eq!(unknown, expected);
    let inserted = query_error(&host, "d", "insert into m select * from m").await;
    assert!(matches!(inserted, QueryError::Planning(_)), "{inserted}");
    let divided = query_error(&host, "d", "select 1/0 as x").await;
    assert_eq!(divided, QueryError::Execution("Arrow error: Divide by zero error".to_owned()));
    let missing = query_error(&host, "nodb", "select 1").await;
    assert_eq!(missing.to_string(), "database not found: nodb");
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_ends_alone() {
    let world = World::new();
    let host = world.open().await;
    let sql = "select array_length(array_agg(repeat('x', 10000 + value % 7))) from generate_series(1, 160000)";
    let error = query_error(&host, "_internal", sql).await;
    assert!(matches!(error, QueryError::Limit(_)), "{error}");
    assert_eq!(rows(&host, "_internal", "select 1").await, ["1"]);
}

#[tokio::test]
async fn a_dropped_result_stops_its_query() {
    let world = World::new();
    let host = world.open().await;
    for _ in 0..100 {
        let request = bulkhead_embedded_host::QueryRequest {
            database: "_internal".to_owned(),
            sql: "select * from generate_series(1, 100000000000)".to_owned(),
            parameters: Default::default(),
        };
        // More than may run at once, so those that are dropped have to make room.
        drop(host.query(request).await.unwrap());
    }
}

#[tokio::test]
async fn deep_expressions_do_not_end_the_process() {
    let world = World::new();
    let host = world.open().await;
    let sums = format!("select {} as x", vec!["1"; 500].join("+"));
    let chain = format!("select 1 where {}", vec!["1=1"; 1_000].join(" and "));
    let nested = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    for sql in [sums, chain, nested] {
        // Either answer will do.
        let _ = batches(&host, "_internal", &sql, &[]).await;
    }
    assert_eq!(rows(&host, "_internal", "select 1").await, ["1"]);
}

#[tokio::test]
async fn real_data_gives_the_same_answers_from_memory_and_from_files() {
    let world = World::new();
    let host = world.open().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/bay-area-weather.lp");
    let lines = std::fs::read_to_string(path).unwrap();
    assert_eq!(write(&host, "weather", &lines).await.rows, 3288);
    let sql =
        "select location, count(*), max(temp_max), count(temp_min) from weather group by location order by location";
    let from_memory = rows(&host, "weather", sql).await;
    assert_eq!(rows(&host, "weather", "select count(*) from weather").await, ["3288"]);
    assert_eq!(rows(&host, "weather", "select count(temp_min) from weather").await, ["3286"]);
    host.snapshot().await.unwrap();
    assert_eq!(rows(&host, "weather", sql).await, from_memory);
    // The same file again changes nothing.
    write(&host, "weather", &lines).await;
    assert_eq!(rows(&host, "weather", sql).await, from_memory);
    drop(host);
    assert_eq!(rows(&world.open().await, "weather", sql).await, from_memory);
}

//! Arrow data of batches and queries, taken by the libraries that plugins use. Their packages come from an index.

use crate::world::{TestRunner, Trigger};

const LIBRARIES: &str = r#"# /// script
# dependencies = ["duckdb", "pandas", "polars", "pyarrow"]
# ///
import duckdb
import polars
import pyarrow


def process_writes(influxdb3_local, table_batches, args=None):
    log = influxdb3_local.info
    for batch in table_batches:
        table = pyarrow.table(batch.arrow)
        log("pyarrow:", table.num_rows, table["v"].to_pylist(), table["t"].to_pylist())
        stream = pyarrow.RecordBatchReader.from_stream(batch)
        log("stream:", stream.schema.names, stream.read_all().num_rows)
        addresses = {pyarrow.table(batch.arrow)["v"].chunk(0).buffers()[1].address for _ in range(3)}
        log("copies:", len(addresses) - 1)
        frame = polars.DataFrame(batch.arrow)
        log("polars:", frame["v"].sum(), frame["t"].to_list(), frame["time"].dtype)
        rows = batch.arrow
        log("duckdb:", duckdb.sql("select sum(v), min(t) from rows").fetchall())
        log("pandas:", table.to_pandas()["v"].mean())
        log("rows:", batch["rows"][0]["v"], pyarrow.table(batch.arrow).num_rows)
    result = influxdb3_local.query("select v, t from m order by time", arrow=True)
    log("query:", len(result), pyarrow.table(result).to_pylist(), result.rows()[0])
    empty = influxdb3_local.query("select v from m where v > 100", arrow=True)
    log("empty:", pyarrow.table(empty).num_rows, pyarrow.schema(empty).names)
"#;

#[test]
fn polars_pyarrow_pandas_and_duckdb_take_the_rows_without_a_copy() {
    let runner = TestRunner::start();
    runner.plugin("libraries.py", LIBRARIES);
    runner.create(&Trigger::new("libraries", "libraries.py", "table:m"));
    runner.write("m,t=a v=1.5 1\nm v=2.5 2");
    for line in [
        "pyarrow: 2 [1.5, 2.5] ['a', None]",
        "stream: ['t', 'v', 'time'] 2",
        "copies: 0",
        "polars: 4.0 ['a', None] Datetime(time_unit='ns', time_zone=None)",
        "duckdb: [(4.0, 'a')]",
        "pandas: 2.0",
        "rows: 1.5 2",
        "query: 2 [{'v': 1.5, 't': 'a'}, {'v': 2.5, 't': None}] {'v': 1.5, 't': 'a'}",
        "empty: 0 ['v']",
    ] {
        runner.until_logged("libraries", &format!("INFO {line}"));
    }
}

"""A plugin that uses all of the API, as a type checker sees it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bulkhead_worker import InfluxDB3Local, LineBuilder, QueryError, TableBatch


def process_writes(
    influxdb3_local: InfluxDB3Local, table_batches: list[TableBatch], args: dict[str, str] | None = None
) -> None:
    for batch in table_batches:
        name: str = batch["table_name"]
        rows: list[dict[str, Any]] = batch["rows"]
        line = LineBuilder(name).tag("rows", str(len(rows))).int64_field("i", 1).uint64_field("u", 2)
        line.float64_field("f", 1.5).string_field("s", "text").bool_field("b", True).time_ns(rows[0]["time"])
        influxdb3_local.write(line)
        influxdb3_local.write_to_db("other", line)
        influxdb3_local.write_sync(line, no_sync=True)
        influxdb3_local.write_sync_to_db("other", line, False)
        text: str = line.build()
        influxdb3_local.info("built", text, len(batch.arrow))


def process_scheduled_call(
    influxdb3_local: InfluxDB3Local, call_time: datetime, args: dict[str, str] | None = None
) -> None:
    found: list[dict[str, Any]] = influxdb3_local.query("SELECT * FROM m WHERE time > $t", {"t": call_time}, "db")
    arrow = influxdb3_local.query("SELECT * FROM $table", {"table": "m", "n": 1, "x": None}, arrow=True)
    influxdb3_local.warn(len(found), len(arrow), arrow.rows())
    cache = influxdb3_local.cache
    cache.put("state", {"n": 1}, ttl=60, use_global=True)
    state: dict[str, int] = cache.get("state", {}, use_global=True)
    was_there: bool = cache.delete("state")
    influxdb3_local.error(state, was_there)


def process_request(
    influxdb3_local: InfluxDB3Local,
    query_parameters: dict[str, str],
    request_headers: dict[str, str],
    request_body: bytes,
    args: dict[str, str] | None = None,
) -> tuple[dict[str, str], int]:
    try:
        influxdb3_local.query(query_parameters["q"])
    except QueryError as error:
        return {"error": str(error)}, 400
    return {}, 200

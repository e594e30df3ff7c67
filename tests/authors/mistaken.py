"""Mistakes that a type checker finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkhead_worker import InfluxDB3Local, LineBuilder, TableBatch


def process_writes(
    influxdb3_local: InfluxDB3Local, table_batches: list[TableBatch], args: dict[str, str] | None = None
) -> None:
    influxdb3_local.debug("x")
    influxdb3_local.write("m v=1")
    influxdb3_local.write_sync(LineBuilder("m"))
    influxdb3_local.query("SELECT $t", {"t": [1]})
    LineBuilder("m").int64_field("i", 1.5)
    influxdb3_local.cache.put("k", 1, ttl="60")
    count: int = table_batches[0]["table_name"]
    assert count

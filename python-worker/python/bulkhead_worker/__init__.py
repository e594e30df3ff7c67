"""The worker of Bulkhead: loads one plugin and runs it on orders of the runner.

Plugins need nothing from here: `influxdb3_local` is handed to them and `LineBuilder` is a builtin.
The exceptions are offered for `except` clauses, the other names for annotations.

No module here imports `typing` or `collections.abc` when it runs, nor `signal`, `logging`, `re` or `ast` before
it has to: together they would double the time that a worker takes to start.
"""

from bulkhead_worker._native import (
    ArrowRows,
    Cancelled,
    InfluxDBError,
    InvalidKeyError,
    InvalidLineError,
    InvalidMeasurementError,
    LimitExceeded,
    LineBuilder,
    QueryError,
)
from bulkhead_worker._native import PyCache as Cache
from bulkhead_worker._native import PyPluginCallApi as InfluxDB3Local
from bulkhead_worker.batches import TableBatch

__all__ = [
    "ArrowRows",
    "Cache",
    "Cancelled",
    "InfluxDB3Local",
    "InfluxDBError",
    "InvalidKeyError",
    "InvalidLineError",
    "InvalidMeasurementError",
    "LimitExceeded",
    "LineBuilder",
    "QueryError",
    "TableBatch",
]

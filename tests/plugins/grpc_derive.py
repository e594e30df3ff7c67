"""Data-write plugin of the delegation tests: one line for each table of a commit.

Trigger arguments:
    name: tag of the lines.
    started: file that is made when a call begins.
    gate: file without which a call does not end.
    fail: the call raises when it is present.
"""

import os
import pathlib
import time


def process_writes(influxdb3_local, table_batches, args=None):
    args = args or {}
    for batch in table_batches:
        rows = batch["rows"]
        line = LineBuilder("derived").tag("source", batch["table_name"]).tag("by", args.get("name", "-"))
        line.int64_field("rows", len(rows)).float64_field("total", sum(row["value"] for row in rows))
        line.int64_field("text", sum(len(row.get("note", "")) for row in rows))
        influxdb3_local.write(line)
    if "started" in args:
        pathlib.Path(args["started"]).touch()
    while "gate" in args and not os.path.exists(args["gate"]):
        time.sleep(0.01)
    if "fail" in args:
        raise ValueError("asked to fail")

"""Writes a row of its own for every row and every tick that it is called with, so that a second call shows."""

import uuid


def process_writes(influxdb3_local, table_batches, args=None):
    for batch in table_batches:
        for row in batch["rows"]:
            line = LineBuilder(args["target"]).tag("call", str(uuid.uuid4())).float64_field("v", row["v"])
            influxdb3_local.write(line)


def process_scheduled_call(influxdb3_local, call_time, args=None):
    line = LineBuilder(args["target"]).tag("call", str(uuid.uuid4())).string_field("at", call_time.isoformat())
    influxdb3_local.write(line)

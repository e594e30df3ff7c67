"""Data-write plugin: derives the temperature range of each day from the weather rows as they are written.

Trigger arguments:
    target: table for the derived rows, `daily_range` by default.
"""


def process_writes(influxdb3_local, table_batches, args=None):
    target = (args or {}).get("target", "daily_range")
    derived = skipped = 0
    for batch in table_batches:
        if batch["table_name"] != "weather":
            continue
        for row in batch["rows"]:
            # Real data has holes: a row holds only the fields that its line had.
            low, high = row.get("temp_min"), row.get("temp_max")
            if low is None or high is None:
                skipped += 1
                continue
            line = LineBuilder(target).tag("location", row["location"])
            line.float64_field("range", high - low).time_ns(row["time"])
            influxdb3_local.write(line)
            derived += 1
    influxdb3_local.info(f"derived {derived} rows, skipped {skipped}")

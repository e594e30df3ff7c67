"""Data-write plugin: the temperatures in Fahrenheit, as they are written."""


def process_writes(influxdb3_local, table_batches, args=None):
    for batch in table_batches:
        for row in batch["rows"]:
            line = LineBuilder("fahrenheit").tag("city", row["city"])
            influxdb3_local.write(line.float64_field("temp", row["temp"] * 9 / 5 + 32).time_ns(row["time"]))

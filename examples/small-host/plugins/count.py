"""Scheduled plugin: how many rows there are."""


def process_scheduled_call(influxdb3_local, call_time, args=None):
    rows = influxdb3_local.query("SELECT * FROM weather")
    influxdb3_local.write(LineBuilder("row_count").tag("of", "weather").int64_field("rows", len(rows)))

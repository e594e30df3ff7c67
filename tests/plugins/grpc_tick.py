"""Scheduled plugin of the delegation tests: one line for each tick."""


def process_scheduled_call(influxdb3_local, call_time, args=None):
    influxdb3_local.write(LineBuilder("tick").string_field("at", call_time.isoformat()))

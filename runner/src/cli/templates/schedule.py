"""{{NAME}}: writes a heartbeat.

Trigger:    bulkhead create trigger --database DB --path {{NAME}}.py --trigger-spec every:10s {{NAME}}
Arguments:  --trigger-arguments table=NAME    where it is written, `heartbeat` otherwise
"""


def process_scheduled_call(influxdb3_local, call_time, args=None):
    table = (args or {}).get("table", "heartbeat")
    # What is cached stays from call to call.
    beats = influxdb3_local.cache.get("beats", default=0) + 1
    influxdb3_local.cache.put("beats", beats)
    influxdb3_local.write(LineBuilder(table).int64_field("beats", beats))
    influxdb3_local.info(f"beat {beats}, due at {call_time}")

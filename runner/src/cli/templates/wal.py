"""{{NAME}}: counts the rows of each table that is written.

Trigger:    bulkhead create trigger --database DB --path {{NAME}}.py --trigger-spec all_tables {{NAME}}
Arguments:  --trigger-arguments prefix=TEXT    beginning of the result's table name, `count_of_` otherwise
"""


def process_writes(influxdb3_local, table_batches, args=None):
    prefix = (args or {}).get("prefix", "count_of_")
    for batch in table_batches:
        table, rows = batch["table_name"], batch["rows"]
        # A trigger for all tables also sees what it writes itself.
        if table.startswith(prefix):
            continue
        newest = max(row["time"] for row in rows)
        line = LineBuilder(prefix + table).int64_field("rows", len(rows)).time_ns(newest)
        influxdb3_local.write(line)
        influxdb3_local.info(f"{len(rows)} rows of {table}")

"""Logs what a data-write plugin is called with: each row, and the types of its values."""


def process_writes(influxdb3_local, table_batches, args=None):
    for batch in table_batches:
        for row in batch["rows"]:
            types = {name: type(value).__name__ for name, value in row.items()}
            influxdb3_local.info(batch["table_name"], row, types)

"""A WAL plugin that does not look at its rows."""


def process_writes(influxdb3_local, table_batches, args=None):
    pass

"""A WAL plugin that sums one field of all rows and writes the sum, so that the bench can check it."""


def process_writes(influxdb3_local, table_batches, args=None):
    total = 0.0
    for table_batch in table_batches:
        for row in table_batch["rows"]:
            total += row["f0"]
    influxdb3_local.write(LineBuilder("sums").float64_field("total", total))

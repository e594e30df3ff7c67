# /// script
# dependencies = ["polars"]
# ///
"""A WAL plugin that sums one field by way of Arrow and writes the sum, so that the bench can check it."""

import polars


def process_writes(influxdb3_local, table_batches, args=None):
    total = sum(polars.DataFrame(batch.arrow)["f0"].sum() for batch in table_batches)
    influxdb3_local.write(LineBuilder("sums").float64_field("total", total))

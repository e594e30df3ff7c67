"""Keeps a running sum in its cache, and writes for every row what the sum is then."""


def process_writes(influxdb3_local, table_batches, args=None):
    cache = influxdb3_local.cache
    total, count = cache.get("total", default=0), cache.get("count", default=0)
    for batch in table_batches:
        for row in batch["rows"]:
            total, count = total + row["v"], count + 1
            line = LineBuilder(args["target"]).int64_field("count", count).float64_field("total", total)
            if "quiet" not in args or row["v"] < 1:
                influxdb3_local.write(line.float64_field("v", row["v"]).time_ns(count))
    cache.put("total", total)
    cache.put("count", count)

"""A request plugin that builds lines."""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    for n in range(1000):
        line = LineBuilder("weather").tag("city", "Oslo").float64_field("t", n + 0.5).int64_field("n", n)
        line.time_ns(1_700_000_000_000_000_000 + n).build()
    return "ok"

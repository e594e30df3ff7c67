"""Request plugin: the warmest city."""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    table = query_parameters.get("table", "weather")
    rows = influxdb3_local.query(f"SELECT * FROM {table}")
    if not rows:
        return {"error": f"table {table} is empty"}, 404
    warmest = max(rows, key=lambda row: row["temp"])
    return {"city": warmest["city"], "temp": warmest["temp"], "of": len(rows)}

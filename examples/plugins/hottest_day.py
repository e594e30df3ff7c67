"""Request plugin: the hottest day of one station, or of all of them.

GET /api/v3/engine/hottest?location=Hayward
"""

from datetime import datetime, timezone

HOTTEST = "SELECT time, location, temp_max FROM weather {where} ORDER BY temp_max DESC LIMIT 1"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    location = query_parameters.get("location")
    if location is None:
        rows = influxdb3_local.query(HOTTEST.format(where=""))
    else:
        rows = influxdb3_local.query(HOTTEST.format(where="WHERE location = $location"), {"location": location})
    if not rows:
        return {"error": f"no data for {location!r}"}, 404
    day = datetime.fromtimestamp(rows[0]["time"] / 1e9, tz=timezone.utc).date()
    return {"location": rows[0]["location"], "day": day.isoformat(), "temp_max": rows[0]["temp_max"]}

"""Waits until there is a file `go` beside the plugin."""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    influxdb3_local.info("waiting")
    while not os.path.exists(os.path.join(os.environ["PLUGIN_DIR"], "go")):
        time.sleep(0.01)
    return "gone through"


def process_writes(influxdb3_local, table_batches, args=None):
    process_request(influxdb3_local, None, None, None)
    for row in table_batches[0]["rows"]:
        influxdb3_local.write(LineBuilder("through").float64_field("v", row["v"]).time_ns(row["time"]))

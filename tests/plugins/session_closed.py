"""Closes the session's descriptor, and goes on."""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if query_parameters.get("well"):
        return "well"
    os.close(3)
    time.sleep(1000)

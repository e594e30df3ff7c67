"""Writes garbage to the session's descriptor."""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if query_parameters.get("well"):
        return "well"
    os.write(3, b"\xffgarbage" * 1000)
    time.sleep(1000)

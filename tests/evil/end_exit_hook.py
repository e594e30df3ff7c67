"""Sleeps for ever when it is to leave.

expect: registered
"""

import atexit
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    atexit.register(time.sleep, 1000)
    return "registered"

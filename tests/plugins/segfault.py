"""Reads from address zero."""

import ctypes
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    influxdb3_local.warn("about to read from address zero")
    # What is logged leaves the process within moments, not at once.
    time.sleep(0.5)
    ctypes.string_at(0)

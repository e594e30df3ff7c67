"""Begins a frame and never ends it.

timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.write(3, b"\x0f\x00\x00\x00\x00\x00\x00\x00\x01half")
    while True:
        time.sleep(60)

"""Announces a frame of 16 MiB.

timeout: 10s
fails with: worker broke the protocol
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.write(3, b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1 << 16))
    time.sleep(60)

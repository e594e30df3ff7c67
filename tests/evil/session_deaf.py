"""Puts something else in the place of its session, which it neither reads nor writes any more.

timeout: 10s
fails with: worker broke the protocol
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    kept = os.dup(3)
    with open("/dev/null") as null:
        os.dup2(null.fileno(), 3)
    while True:
        time.sleep(kept)

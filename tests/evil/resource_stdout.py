"""Floods its standard output.

expect: done
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    for _ in range(256):
        os.write(1, b"flood\n" * 10000)
    return "done"

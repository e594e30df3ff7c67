"""Asks its runner whether it is there, without end.

timeout: 10s
fails with: worker broke the protocol
"""

import os


def frame(kind, flags, stream, content):
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    many = frame(6, 0, 0, bytes(8)) * 1000
    while True:
        os.write(3, many)

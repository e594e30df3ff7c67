"""Sends few headers that unfold to many.

timeout: 10s
fails with: against the limit `session_header_bytes_max`
"""

import os
import time


def frame(kind, flags, stream, content):
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    path = b"/bulkhead.worker.v1.WorkerService/Query"
    # A header that is remembered, and then meant by one byte each time.
    bomb = b"\x83\x86\x04" + bytes([len(path)]) + path + b"\x40\x01a\x7e" + b"b" * 126 + b"\xbe" * 60000
    os.write(3, frame(1, 5, 1001, bomb))
    time.sleep(60)

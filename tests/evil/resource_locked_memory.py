"""Locks memory.

expect: -1
"""

import ctypes


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return str(ctypes.CDLL(None).mlockall(1))

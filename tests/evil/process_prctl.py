"""Undoes what ties it to its parent.

expect: -1 -1 -1
"""

import ctypes


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    libc = ctypes.CDLL(None)
    return " ".join(str(libc.prctl(option, value, 0, 0, 0)) for option, value in ((1, 0), (36, 1), (0x59616D61, -1)))

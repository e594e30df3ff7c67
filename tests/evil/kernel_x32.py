"""Makes system calls of x32, which have numbers of their own.

expect: -1
"""

import ctypes


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return str(ctypes.CDLL(None).syscall(0x40000000 + 39))

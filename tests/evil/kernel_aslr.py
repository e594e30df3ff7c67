"""Switches the randomisation of addresses off.

expect: -1
"""

import ctypes


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return str(ctypes.CDLL(None).personality(0x0040000))

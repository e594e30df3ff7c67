"""Reads from address zero.

fails with: worker killed by signal 11 (SIGSEGV)
"""

import ctypes


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    ctypes.string_at(0)

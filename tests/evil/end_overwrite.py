"""Overwrites memory at random.

fails with: worker killed by signal
"""

import ctypes


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    for address in range(id(type), id(type) + 65536, 8):
        ctypes.memset(address, 0x41, 8)

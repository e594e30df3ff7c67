"""Dies with a traceback on standard error.

fails with: worker killed by signal 11 (SIGSEGV)
"""

import ctypes
import faulthandler


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    faulthandler.enable()
    ctypes.string_at(0)

"""Looks for shared memory of others.

expect: []
without namespaces: PermissionError
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    try:
        return str(os.listdir("/dev/shm"))
    except OSError as error:
        return type(error).__name__

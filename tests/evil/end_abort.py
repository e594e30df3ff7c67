"""Aborts.

fails with: worker killed by signal 6 (SIGABRT)
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.abort()

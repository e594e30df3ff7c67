"""Leaves with a code.

fails with: worker exited by itself with exit code 7
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os._exit(7)

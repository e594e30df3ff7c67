"""Asks Python to exit.

fails with: SystemExit: 3
"""

import sys


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    sys.exit(3)

"""Asks for a variable of the runner's environment that it was not granted, and does not catch the error.

fails with: KeyError: 'BULKHEAD_TEST_SECRET'
hint: --allow-env=BULKHEAD_TEST_SECRET
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return os.environ["BULKHEAD_TEST_SECRET"]

"""Looks for secrets in its own environment.

expect: None False
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return str(os.environ.get("BULKHEAD_TEST_SECRET")) + " " + str("hush" in str(os.environ))

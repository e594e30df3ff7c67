"""Matches a regular expression that takes for ever.

timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""

import re


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return str(re.match(r"(a+)+$", "a" * 64 + "b"))

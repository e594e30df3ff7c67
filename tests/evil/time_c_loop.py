"""Computes for ever in a function that cannot be interrupted.

timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return sum(range(10**13))

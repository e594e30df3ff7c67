"""Computes for ever.

timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    while True:
        pass

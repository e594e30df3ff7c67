"""Does nothing to anybody."""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return str(os.getpid())

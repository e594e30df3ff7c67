"""Aborts, as a failed assertion in C does."""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.abort()

"""Ends its own process."""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os._exit(7)


def process_scheduled_call(influxdb3_local, call_time, args=None):
    os._exit(7)

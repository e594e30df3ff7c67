"""Sleeps for ever, and says when it is woken."""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if query_parameters.get("awake"):
        return "awake"
    influxdb3_local.info("asleep")
    try:
        time.sleep(1000)
    except BaseException as error:
        os.write(2, f"woken by {type(error).__name__}\n".encode())
        if query_parameters.get("last_words"):
            influxdb3_local.warn("last words")
        raise

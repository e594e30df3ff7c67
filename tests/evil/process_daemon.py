"""Leaves a daemon behind.

grant: {"allow_run": true}
expect: left
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    return "left"

"""Forks as often as it can.

grant: {"allow_run": true, "max_procs": 30}
only with: namespaces
expect: BlockingIOError True
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    children = 0
    try:
        while children < 200:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            children += 1
    except OSError as error:
        return type(error).__name__ + " " + str(children < 30)
    return "no limit"

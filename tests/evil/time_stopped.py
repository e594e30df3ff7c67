"""Stops itself.

timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""

import os
import signal
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)

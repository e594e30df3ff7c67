"""Blocks and ignores every signal.

timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""

import signal
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(60)

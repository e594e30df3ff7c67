"""Computes for ever in two processes of its own, and waits for them.

grant: {"allow_run": true}
timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    for _ in range(2):
        if os.fork() == 0:
            while True:
                pass
    return os.wait()

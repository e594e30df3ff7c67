"""Leaves a child that goes on with its session.

grant: {"allow_run": true}
only with: namespaces
fails with: worker exited by itself with exit code 7
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if os.fork() == 0:
        while True:
            os.write(3, b"ghost")
            time.sleep(0.01)
    os._exit(7)

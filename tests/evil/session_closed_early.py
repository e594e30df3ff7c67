"""Closes its session and goes on.

timeout: 10s
fails with: worker broke the protocol
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.close(3)
    time.sleep(60)

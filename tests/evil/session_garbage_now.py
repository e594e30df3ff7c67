"""Writes garbage into its session.

timeout: 10s
fails with: worker broke the protocol
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.write(3, bytes(range(256)) * 64)
    time.sleep(60)

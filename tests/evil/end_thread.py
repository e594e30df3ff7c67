"""Leaves a thread that keeps its process alive.

expect: left
"""

import threading
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return "left"

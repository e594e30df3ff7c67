"""Starts as many threads as it can.

grant: {"max_procs": 40}
only with: namespaces
expect: RuntimeError True
"""

import threading


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    gate = threading.Event()
    threads = 0
    try:
        while threads < 500:
            threading.Thread(target=gate.wait, daemon=True).start()
            threads += 1
    except RuntimeError as error:
        return type(error).__name__ + " " + str(threads < 40)
    finally:
        gate.set()
    return "no limit"

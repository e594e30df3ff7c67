"""Takes its memory in many processes, each of which stays below the limit of one.

only with: namespaces
grant: {"memory": "128MB", "allow_run": true}
timeout: 30s
fails with: processes and may hold 128 MiB (limit `memory`)
"""

import os
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    for _ in range(8):
        if os.fork() == 0:
            hoarded = bytearray(b"x" * (60 << 20))
            time.sleep(60)
            os._exit(len(hoarded) % 2)
    time.sleep(60)

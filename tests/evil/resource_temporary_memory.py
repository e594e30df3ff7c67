"""Takes its memory as files in the memory behind /tmp and /dev/shm.

only with: namespaces
grant: {"memory": "64MB", "tmp_size": "512MB"}
timeout: 30s
fails with: MiB of memory and may hold 64 MiB (limit `memory`)
"""

import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    for number in range(8):
        with open(f"/tmp/{number}", "wb") as file:
            file.write(b"x" * (30 << 20))
    time.sleep(60)

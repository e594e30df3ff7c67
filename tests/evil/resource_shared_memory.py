"""Takes memory that no limit of a single process counts: shared, and mapped anew each time.

grant: {"memory": "64MB"}
timeout: 30s
fails with: MiB of memory and may hold 64 MiB (limit `memory`)
"""

import mmap


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    hoarded = []
    for _ in range(64):
        shared = mmap.mmap(-1, 16 << 20)
        for page in range(0, 16 << 20, 4096):
            shared[page] = 1
        hoarded.append(shared)
    return f"took {len(hoarded) * 16} MB"

"""Looks for descriptors that were left open.

expect: True
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    inherited = []
    for descriptor in range(4, 64):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        inherited.append(target)
    # Its own event queue, and nothing of the runner's or the holder's.
    return str(all("anon_inode" in target or "/proc/" in target or "socket" in target for target in inherited))

"""Takes all of its memory with one call, and touches it.

expect one of: MemoryError|OSError
"""

import mmap


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(mmap.mmap, -1, 4 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) + " " + attempt(bytearray, 4 << 30)

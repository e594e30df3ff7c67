"""Fills memory with page tables instead of pages.

expect one of: OSError|MemoryError|ValueError
"""

import mmap


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(mmap.mmap, -1, 64 << 30, prot=mmap.PROT_READ)

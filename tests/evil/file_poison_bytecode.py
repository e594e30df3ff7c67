"""Leaves byte code that the next worker would run.

expect one of: PermissionError|OSError|FileNotFoundError
"""

import os
import sys


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(open, os.path.join(sys.prefix, "lib", "poison.pyc"), "wb")

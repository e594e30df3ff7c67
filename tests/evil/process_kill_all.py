"""Kills everybody whom it may kill, itself excepted.

expect one of: ProcessLookupError|PermissionError|done
without signal scopes one of: ProcessLookupError|PermissionError|done
fails without signal scopes with: was killed
"""

import os
import signal


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(os.kill, -1, signal.SIGKILL)

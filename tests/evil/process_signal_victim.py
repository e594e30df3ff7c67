"""Signals a process of the host.

expect: ProcessLookupError
without namespaces: PermissionError
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
    return attempt(os.kill, int(query_parameters["victim"]), signal.SIGKILL)

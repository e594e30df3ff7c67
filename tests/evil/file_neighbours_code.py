"""Reads the code of another trigger.

expect: FileNotFoundError
without namespaces: PermissionError
"""

import os


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(open, os.path.join(os.environ["PLUGIN_DIR"], "neighbour.py"))

"""Looks for the temporary files of other workers.

expect one of: PermissionError|FileNotFoundError
without landlock: done
"""

import os


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(os.listdir, os.path.dirname(os.environ["TMPDIR"]))

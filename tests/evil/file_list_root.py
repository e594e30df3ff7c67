"""Lists directories of the host. A root of its own has those on the way to the interpreter.

expect one of: PermissionError|FileNotFoundError
without landlock one of: done|FileNotFoundError
"""

import os


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return " ".join(attempt(os.listdir, path) for path in ("/", "/root", "/home", "/var"))

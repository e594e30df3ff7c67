"""Changes its user.

expect: PermissionError PermissionError PermissionError
"""

import os


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return " ".join([attempt(os.setuid, 0), attempt(os.setgid, 0), attempt(os.setgroups, [0])])

"""Forks without being allowed to.

expect: PermissionError PermissionError PermissionError
"""

import os
import subprocess


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return " ".join(
        [attempt(os.fork), attempt(subprocess.run, ["/bin/true"]), attempt(os.posix_spawn, "/bin/true", ["true"], {})]
    )

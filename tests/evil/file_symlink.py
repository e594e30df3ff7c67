"""Follows a symbolic link of its own out of the sandbox.

expect: FileNotFoundError
without namespaces: PermissionError
"""

import os
import tempfile


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    link = os.path.join(tempfile.mkdtemp(), "link")
    os.symlink("/etc/shadow", link)
    return attempt(open, link)

"""Reads the host's password files.

expect: FileNotFoundError done
without namespaces: PermissionError PermissionError
"""


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(open, "/etc/shadow") + " " + attempt(open, "/etc/passwd")

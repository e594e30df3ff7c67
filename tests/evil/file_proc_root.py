"""Leaves through the links of /proc.

expect: FileNotFoundError PermissionError
without namespaces: PermissionError PermissionError
without proc: FileNotFoundError FileNotFoundError
"""


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(open, "/proc/self/root/etc/shadow") + " " + attempt(open, "/proc/1/root/etc/shadow")

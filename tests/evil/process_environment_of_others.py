"""Reads the environment of the runner, of process 1 and of a victim.

expect: PermissionError FileNotFoundError
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
    return attempt(open, "/proc/1/environ") + " " + attempt(open, "/proc/" + query_parameters["victim"] + "/environ")

"""Opens disks and memory.

expect: FileNotFoundError FileNotFoundError FileNotFoundError
without namespaces one of: PermissionError|FileNotFoundError
"""


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return " ".join(attempt(open, path, "rb") for path in ("/dev/vda", "/dev/mem", "/dev/kmsg"))

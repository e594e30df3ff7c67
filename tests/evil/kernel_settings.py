"""Changes settings of the kernel.

expect one of: PermissionError|FileNotFoundError|OSError
"""


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    results = {
        attempt(open, path, "w")
        for path in ("/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")
    }
    return " ".join(results)

"""Raises its own limits.

expect: ValueError ValueError
"""

import resource


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    raised = resource.RLIM_INFINITY
    return " ".join(
        attempt(resource.setrlimit, limit, (raised, raised)) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_DATA)
    )

"""Makes others die first when memory runs out.

expect: PermissionError
without proc: FileNotFoundError
"""


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(open, "/proc/self/oom_score_adj", "w")

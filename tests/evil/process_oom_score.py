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


def never_the_first():
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("-1000")


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(never_the_first)

"""Takes more memory than its trigger was given.

grant: {"memory": "64MB"}
expect: MemoryError
"""


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    def hoard():
        return len(bytearray(400 << 20))

    return attempt(hoard)

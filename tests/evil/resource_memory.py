"""Takes more memory than it may have.

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
        hoarded = []
        while True:
            hoarded.append(bytearray(16 << 20))

    return attempt(hoard)

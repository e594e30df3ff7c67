"""Writes a file of any size.

expect: OSError OSError
"""

import tempfile


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    def sparse():
        with tempfile.TemporaryFile() as file:
            file.truncate(1 << 40)

    def seek():
        with tempfile.TemporaryFile() as file:
            file.seek(1 << 40)
            file.write(b"x")
            file.flush()

    return attempt(sparse) + " " + attempt(seek)

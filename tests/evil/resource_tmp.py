"""Fills its temporary directory.

grant: {"tmp_size": "8MB"}
only with: namespaces
expect: OSError
"""

import tempfile


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    def fill():
        with tempfile.TemporaryFile() as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
                file.flush()

    return attempt(fill)

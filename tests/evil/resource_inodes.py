"""Makes as many files as it can.

only with: namespaces
expect: OSError
"""

import os
import tempfile


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    directory = tempfile.mkdtemp()

    def fill():
        for number in range(20_000):
            open(os.path.join(directory, str(number)), "w").close()

    return attempt(fill)

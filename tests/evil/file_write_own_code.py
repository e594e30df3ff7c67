"""Changes its own code, its environment and the interpreter.

expect one of: PermissionError|OSError
"""

import os
import sys


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return " ".join(
        [
            attempt(open, os.path.join(os.environ["PLUGIN_DIR"], "file_write_own_code.py"), "a"),
            attempt(open, os.path.join(sys.prefix, "pyvenv.cfg"), "a"),
            attempt(open, os.__file__, "a"),
        ]
    )

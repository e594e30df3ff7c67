"""Looks for a place where it could leave a pickle that another trigger loads.

expect one of: PermissionError|OSError|FileNotFoundError
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
    own = os.environ["TMPDIR"]
    shared = [os.environ["PLUGIN_DIR"], os.environ["VIRTUAL_ENV"], os.path.dirname(own), "/var/lib", "/dev", "/run"]
    shared.extend(path for path in sys.path if os.path.isdir(path))
    return " ".join(attempt(open, os.path.join(place, "model.pickle"), "wb") for place in shared)

"""Links its own code into its temporary directory, to write to it there.

expect one of: OSError|PermissionError
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
    return attempt(
        os.link, os.path.join(os.environ["PLUGIN_DIR"], "file_hard_link.py"), os.path.join(tempfile.mkdtemp(), "copy")
    )

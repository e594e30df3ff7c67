"""Makes a set-user-id program and a device.

expect: PermissionError PermissionError PermissionError
"""

import os
import stat
import tempfile


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    file = os.path.join(tempfile.mkdtemp(), "file")
    open(file, "w").close()
    return " ".join(
        [
            attempt(os.chmod, file, 0o4755),
            attempt(os.chmod, file, 0o2755),
            attempt(os.mknod, file + ".device", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
        ]
    )

"""Executes a program that it has written.

grant: {"allow_run": true}
expect: PermissionError
"""

import os
import shutil
import subprocess
import tempfile


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    program = os.path.join(tempfile.mkdtemp(), "true")
    shutil.copy("/bin/true", program)
    os.chmod(program, 0o755)
    return attempt(subprocess.run, [program])

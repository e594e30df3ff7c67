"""Has a child load a library of its own before all others, and read what the worker may not.

grant: {"allow_run": true}
expect one of: PermissionError|FileNotFoundError
"""

import os
import subprocess
import sys
import tempfile


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    program = "try: open('/etc/shadow')\nexcept Exception as error: print(type(error).__name__)"
    with tempfile.NamedTemporaryFile(suffix=".so") as library:
        environment = {**os.environ, "LD_PRELOAD": library.name}
        child = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    return child.stdout.strip()

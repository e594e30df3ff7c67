"""Starts a program, and does not catch the error.

fails with: PermissionError
hint: --allow-run
"""

import subprocess


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return subprocess.run(["/bin/true"])

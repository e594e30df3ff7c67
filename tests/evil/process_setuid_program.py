"""Runs a set-user-id program.

grant: {"allow_run": true}
expect: False
"""

import subprocess


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    shown = subprocess.run(["/bin/su", "-c", "id -u", "root"], capture_output=True, text=True, input="").stdout
    return str(shown.strip() == "0")

"""Writes beside itself, and does not catch the error.

fails with: out.csv'
hint: --allow-write=out.csv
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    with open(os.path.join(os.environ["PLUGIN_DIR"], "out.csv"), "w") as file:
        file.write("x")

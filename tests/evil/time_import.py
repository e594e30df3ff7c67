"""Never ends while it is imported.

timeout: 1s
fails with: plugin ran longer than its timeout of 1s
"""

import time

time.sleep(1000)


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return "never"

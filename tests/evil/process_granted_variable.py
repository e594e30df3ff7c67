"""Asks for a variable that it was granted, and for one that it was not.

needs variable: BULKHEAD_TEST_SECRET
grant: {"allow_env": ["BULKHEAD_TEST_SECRET"]}
expect: hush None
hint: --allow-env=BULKHEAD_OTHER_SECRET
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return os.environ["BULKHEAD_TEST_SECRET"] + " " + str(os.environ.get("BULKHEAD_OTHER_SECRET"))

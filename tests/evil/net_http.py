"""Asks a web server by name, and does not catch the error.

fails with: URLError
hint: --allow-net=HOST:PORT
"""

import urllib.request


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return urllib.request.urlopen("http://localhost:" + query_parameters["port"], timeout=5).read()

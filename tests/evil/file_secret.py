"""Reads a file of the host that everybody else may read, and does not catch the error.

fails with: FileNotFoundError
fails without namespaces with: PermissionError
hint: --allow-read=
"""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return open(query_parameters["secret"]).read()

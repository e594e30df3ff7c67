"""Takes more memory than it may have: at once, or little by little."""

import os
import uuid


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if query_parameters["how"] == "once":
        return str(len(b"x" * 2**30))
    if query_parameters["how"] == "slowly":
        hoard = []
        while True:
            hoard.append(bytearray(2**20))
    return os.environ.setdefault("LIFE", uuid.uuid4().hex)

"""Does nothing to anybody, and tells its worker from another one: process ids are the same in every sandbox."""

import os
import uuid


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return os.environ.setdefault("LIFE", uuid.uuid4().hex)

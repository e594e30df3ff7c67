"""Connects to a server of the host.

expect: PermissionError
"""

import socket


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return attempt(socket.create_connection, ("127.0.0.1", int(query_parameters["port"])), 5)

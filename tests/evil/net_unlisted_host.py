"""Connects to a host that is not on its list.

grant: {"allow_net": ["localhost:1"]}
only with: namespaces
expect: ConnectionRefusedError OSError gaierror
"""

import socket


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return " ".join(
        [
            attempt(socket.create_connection, ("127.0.0.1", int(query_parameters["port"])), 5),
            attempt(socket.create_connection, ("192.0.2.1", 80), 5),
            attempt(socket.create_connection, ("example.com", 80), 5),
        ]
    )

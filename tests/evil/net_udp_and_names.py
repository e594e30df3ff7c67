"""Sends a datagram and resolves a name.

expect: PermissionError gaierror
"""

import socket


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    def datagram():
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53))

    return attempt(datagram) + " " + attempt(socket.getaddrinfo, "example.com", 80)

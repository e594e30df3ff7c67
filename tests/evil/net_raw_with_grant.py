"""Makes raw and Unix sockets although only TCP and UDP were granted.

grant: {"allow_net": true}
expect: PermissionError PermissionError PermissionError
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
            attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1),
            attempt(socket.socket, socket.AF_UNIX, socket.SOCK_STREAM),
            attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),
        ]
    )

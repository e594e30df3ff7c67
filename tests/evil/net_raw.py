"""Makes raw, packet, netlink and other unusual sockets.

expect: PermissionError PermissionError PermissionError PermissionError PermissionError
"""

import socket


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    kinds = [
        (socket.AF_INET, socket.SOCK_RAW),
        (socket.AF_PACKET, socket.SOCK_RAW),
        (socket.AF_NETLINK, socket.SOCK_RAW),
        (38, 5),
        (40, 1),
    ]
    return " ".join(attempt(socket.socket, family, kind) for family, kind in kinds)

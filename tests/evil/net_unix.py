"""Connects to Unix sockets, by name, by abstract name, and from a pair of datagram sockets.

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
    def named():
        socket.socket(socket.AF_UNIX).connect("/run/docker.sock")

    def abstract():
        socket.socket(socket.AF_UNIX).connect("\0anything")

    def datagram():
        socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", "/dev/log")

    return " ".join([attempt(named), attempt(abstract), attempt(datagram)])

"""Connects its session's socket to another one.

expect one of: PermissionError
"""

import os
import socket


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    def connect(address):
        with socket.socket(fileno=os.dup(3)) as session:
            session.connect(address)

    return attempt(connect, "/run/victim.sock") + " " + attempt(connect, "\0victim")

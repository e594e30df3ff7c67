"""Looks for the machine's network interfaces.

expect one of: PermissionError|FileNotFoundError|OSError
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
    return attempt(socket.if_nameindex) + " " + attempt(os.listdir, "/sys/class/net")

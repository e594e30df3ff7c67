"""Forges input for a terminal, also with bits that the kernel ignores.

expect: PermissionError PermissionError -1
"""

import ctypes
import fcntl


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    wide = ctypes.CDLL(None).ioctl(0, ctypes.c_ulong(0x100005412), b"x")
    return attempt(fcntl.ioctl, 0, 0x5412, b"x") + " " + attempt(fcntl.ioctl, 0, 0x541C, b"x") + " " + str(wide)

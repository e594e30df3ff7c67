"""Uses the kernel's keyrings.

expect: add_key EPERM, keyctl EPERM, request_key EPERM
"""

import ctypes
import errno
import platform

NUMBERS = {
    "x86_64": {"add_key": 248, "keyctl": 250, "request_key": 249},
    "aarch64": {"add_key": 217, "keyctl": 219, "request_key": 218},
}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join(
        [refused("add_key", 0, 0, 0, 0, 0), refused("keyctl", 0, 0, 0, 0, 0), refused("request_key", 0, 0, 0, 0, 0)]
    )

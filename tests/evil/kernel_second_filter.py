"""Installs a filter of its own that would hide ours.

expect: seccomp EPERM
"""

import ctypes
import errno
import platform

NUMBERS = {"x86_64": {"seccomp": 317}, "aarch64": {"seccomp": 277}}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join([refused("seccomp", 1, 0, 0)])

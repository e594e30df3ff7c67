"""Opens files by handle, past every directory.

expect: open_by_handle_at EPERM, name_to_handle_at EPERM
"""

import ctypes
import errno
import platform

NUMBERS = {
    "x86_64": {"open_by_handle_at": 304, "name_to_handle_at": 303},
    "aarch64": {"open_by_handle_at": 265, "name_to_handle_at": 264},
}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join([refused("open_by_handle_at", -100, 0, 0), refused("name_to_handle_at", -100, 0, 0, 0, 0)])

"""Makes memory that is in no account.

expect: memfd_create EPERM, memfd_secret ENOSYS
"""

import ctypes
import errno
import platform

NUMBERS = {"x86_64": {"memfd_create": 319, "memfd_secret": 447}, "aarch64": {"memfd_create": 279, "memfd_secret": 447}}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join([refused("memfd_create", 0, 0), refused("memfd_secret", 0)])

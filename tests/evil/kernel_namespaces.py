"""Makes and enters namespaces.

expect: unshare EPERM, setns EPERM, clone EPERM, clone3 ENOSYS
"""

import ctypes
import errno
import platform

NUMBERS = {
    "x86_64": {"unshare": 272, "setns": 308, "clone": 56, "clone3": 435},
    "aarch64": {"unshare": 97, "setns": 268, "clone": 220, "clone3": 435},
}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join(
        [
            refused("unshare", 0x10000000),
            refused("setns", 3, 0),
            refused("clone", 0x10000011, 0, 0, 0, 0),
            refused("clone3", 0, 0),
        ]
    )

"""Tries large and young parts of the kernel.

expect: bpf EPERM, perf_event_open EPERM, userfaultfd EPERM, io_uring_setup EPERM, fanotify_init EPERM
"""

import ctypes
import errno
import platform

NUMBERS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "fanotify_init": 300},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425, "fanotify_init": 262},
}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join(
        [
            refused("bpf", 0, 0, 0, 0, 0),
            refused("perf_event_open", 0, 0, 0, 0, 0),
            refused("userfaultfd", 0, 0, 0, 0, 0),
            refused("io_uring_setup", 0, 0, 0, 0, 0),
            refused("fanotify_init", 0, 0, 0, 0, 0),
        ]
    )

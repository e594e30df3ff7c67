"""Attaches to other processes and reads their memory.

expect: ptrace EPERM, process_vm_readv EPERM, process_vm_writev EPERM, pidfd_getfd EPERM, kcmp EPERM
"""

import ctypes
import errno
import platform

NUMBERS = {
    "x86_64": {"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438, "kcmp": 312},
    "aarch64": {"ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_getfd": 438, "kcmp": 272},
}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join(
        [
            refused("ptrace", 16, int(query_parameters["victim"]), 0, 0),
            refused("process_vm_readv", int(query_parameters["victim"]), 0, 0, 0, 0, 0),
            refused("process_vm_writev", int(query_parameters["victim"]), 0, 0, 0, 0, 0),
            refused("pidfd_getfd", 3, 0, 0),
            refused("kcmp", 1, 1, 0, 0, 0),
        ]
    )

"""Uses shared memory, semaphores and queues of System V and POSIX.

expect: shmget EPERM, semget EPERM, msgget EPERM, mq_open EPERM
"""

import ctypes
import errno
import platform

NUMBERS = {
    "x86_64": {"shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240},
    "aarch64": {"shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180},
}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join(
        [
            refused("shmget", 0, 0, 0, 0),
            refused("semget", 0, 0, 0, 0),
            refused("msgget", 0, 0, 0, 0),
            refused("mq_open", 0, 0, 0, 0),
        ]
    )

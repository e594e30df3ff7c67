"""Loads modules, reboots, swaps.

expect: init_module EPERM, finit_module EPERM, kexec_load EPERM, reboot EPERM, swapon EPERM, syslog EPERM
"""

import ctypes
import errno
import platform

NUMBERS = {
    "x86_64": {"init_module": 175, "finit_module": 313, "kexec_load": 246, "reboot": 169, "swapon": 167, "syslog": 103},
    "aarch64": {
        "init_module": 105,
        "finit_module": 273,
        "kexec_load": 104,
        "reboot": 142,
        "swapon": 224,
        "syslog": 116,
    },
}


def refused(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(NUMBERS[platform.machine()][name], *arguments)
    return f"{name} {errno.errorcode.get(ctypes.get_errno(), 0) if result == -1 else 'done'}"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return ", ".join(
        [
            refused("init_module", 0, 0, 0, 0, 0),
            refused("finit_module", 0, 0, 0, 0, 0),
            refused("kexec_load", 0, 0, 0, 0, 0),
            refused("reboot", 0, 0, 0, 0, 0),
            refused("swapon", 0, 0, 0, 0, 0),
            refused("syslog", 0, 0, 0, 0, 0),
        ]
    )

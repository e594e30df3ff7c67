"""Overflows its stack in machine code.

timeout: 20s
fails with: worker killed by signal 11 (SIGSEGV)
"""

import ctypes
import mmap

Callback = ctypes.CFUNCTYPE(ctypes.c_int)


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    # An instruction that calls itself.
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xe8\xfb\xff\xff\xff")
    Callback(ctypes.addressof(ctypes.c_char.from_buffer(page)))()

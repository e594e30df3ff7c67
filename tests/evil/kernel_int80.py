"""Makes a system call of 32-bit programs.

fails with: worker killed by signal 31 (SIGSYS)
"""

import ctypes
import mmap


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # `getpid` by `int 0x80`, and back.
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return str(ctypes.CFUNCTYPE(ctypes.c_int)(address)())

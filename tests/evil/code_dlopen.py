"""Loads a library that it has written.

expect: OSError
without namespaces: done
"""

import ctypes
import os
import shutil
import sys
import tempfile


def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        return type(error).__name__
    return "done"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    library = os.path.join(tempfile.mkdtemp(), "library.so")
    shutil.copy(sys.modules["bulkhead_worker._native"].__file__, library)
    return attempt(ctypes.CDLL, library)

"""Kills its process group, and process 1.

fails with: worker killed by signal 9 (SIGKILL)
"""

import contextlib
import os
import signal


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    with contextlib.suppress(OSError):
        os.kill(1, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)

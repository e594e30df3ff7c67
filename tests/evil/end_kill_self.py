"""Kills itself.

fails with: worker killed by signal 9 (SIGKILL)
"""

import os
import signal


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    os.kill(os.getpid(), signal.SIGKILL)

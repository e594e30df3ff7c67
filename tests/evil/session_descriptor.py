"""Sends a descriptor over its session.

timeout: 10s
fails with: worker
"""

import array
import os
import socket
import time


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    with socket.socket(fileno=os.dup(3)) as session:
        session.sendmsg([b"x" * 64], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
    time.sleep(60)

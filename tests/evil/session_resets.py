"""Opens streams and resets them at once, without end.

timeout: 10s
fails with: worker broke the protocol
"""

import os


def frame(kind, flags, stream, content):
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    path = b"/bulkhead.worker.v1.WorkerService/Query"
    headers = b"\x83\x86\x04" + bytes([len(path)]) + path + b"\x01\x01w"
    for stream in range(1001, 1 << 30, 2):
        os.write(3, frame(1, 4, stream, headers) + frame(3, 0, stream, bytes(4)))

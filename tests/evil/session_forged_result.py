"""Says that a call has ended that is another worker's.

timeout: 10s
fails with: worker broke the protocol: `finished` for invocation 2a, which does not run
"""

import os
import time


def frame(kind, flags, stream, content):
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    # `Finished` with `invocation_id` 42 and an `outcome` that is a success.
    finished = b"\x08\x2a\x12\x02\x0a\x00"
    fact = b"\x2a" + bytes([len(finished)]) + finished
    os.write(3, frame(0, 0, 1, b"\x00" + len(fact).to_bytes(4, "big") + fact))
    time.sleep(60)

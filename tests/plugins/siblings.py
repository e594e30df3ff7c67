"""One worker waits while another one of its trigger attacks it, and the process that both are copies of."""

import os
import signal
import time

MEETING = "/tmp/meeting"
OVER = "/tmp/over"


def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return type(error).__name__
    return "done"


def wait_for(path):
    for _ in range(2000):
        if os.path.exists(path):
            return True
        time.sleep(0.01)
    return False


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if query_parameters["how"] == "wait":
        with open(f"{MEETING}.new", "w") as meeting:
            meeting.write(str(os.getpid()))
        os.rename(f"{MEETING}.new", MEETING)
        return f"over: {wait_for(OVER)}"
    wait_for(MEETING)
    with open(MEETING) as meeting:
        sibling = int(meeting.read())
    zygote = 2
    results = [
        attempt(os.kill, sibling, signal.SIGKILL),
        attempt(os.kill, zygote, signal.SIGKILL),
        attempt(os.kill, 1, signal.SIGKILL),
        attempt(open, f"/proc/{sibling}/mem", "rb"),
        attempt(open, f"/proc/{sibling}/environ", "rb"),
        attempt(os.readlink, f"/proc/{sibling}/fd/3"),
        attempt(open, f"/proc/{zygote}/mem", "rb"),
        attempt(os.fork),
    ]
    open(OVER, "w").close()
    return " ".join(results)

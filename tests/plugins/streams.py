"""Request plugin whose response comes in parts; the parameter `what` names its course."""

import os
import time


def wait_for(name):
    while not os.path.exists(os.path.join(os.environ["PLUGIN_DIR"], name)):
        time.sleep(0.01)


def steps(influxdb3_local):
    yield "one "
    wait_for("second")
    influxdb3_local.write(LineBuilder("steps").int64_field("n", 2).time_ns(1))
    yield b"two "
    wait_for("third")
    yield "three"


def breaks(influxdb3_local):
    influxdb3_local.write(LineBuilder("steps").int64_field("n", 1).time_ns(1))
    yield "some"
    raise ValueError("late")


def fails_first(influxdb3_local):
    raise ValueError("early")
    yield "never"


def large(influxdb3_local):
    for mebibyte in range(64):
        influxdb3_local.info(f"produced {mebibyte}")
        for _ in range(16):
            yield b"x" * 65536


def endless(influxdb3_local):
    try:
        while True:
            yield "tick\n"
            time.sleep(0.01)
    finally:
        print("closed")


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return globals()[query_parameters["what"]](influxdb3_local), 200, {"Content-Type": "text/plain"}

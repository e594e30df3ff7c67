"""Tells whether what it imports was there before it ran for the first time in its process."""

import sys

BEFORE = "wave" in sys.modules and "colorsys" in sys.modules

import os  # noqa: E402
import random  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402
import wave  # noqa: E402, F401


def colour(value):
    import colorsys  # what is not needed at first

    return colorsys.rgb_to_hsv(value, value, value)


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    how = query_parameters["how"]
    if how == "die":
        os._exit(3)
    if how == "wait":
        time.sleep(100)
    if how == "random":
        return f"{random.random()}"
    life = os.environ.setdefault("LIFE", uuid.uuid4().hex)
    return f"{BEFORE} {life}"

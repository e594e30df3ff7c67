"""Prints 50 MB: in long lines, in short ones, or past Python."""

import os

SIZE = 50_000_000


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    how = query_parameters["how"]
    if how == "long":
        for _ in range(50):
            print("x" * (SIZE // 50))
    elif how == "short":
        for _ in range(SIZE // 100):
            print("y" * 99)
    else:
        left = SIZE
        while left > 0:
            left -= os.write(1, b"z" * 65535 + b"\n")
    return how

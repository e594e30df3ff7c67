"""Calls itself without end, in Python or through C with the limit lifted."""

import sys


def through_c(n):
    return sum(map(through_c, [n + 1]))


def deeper(n):
    return deeper(n + 1)


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    if query_parameters["through"] == "c":
        sys.setrecursionlimit(10**7)
        return str(through_c(0))
    return str(deeper(0))

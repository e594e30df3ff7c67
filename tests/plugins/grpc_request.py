"""Request plugin of the delegation tests: does what the query parameter `do` says."""

import ctypes
import json
import os
import pathlib
import time


def echo(influxdb3_local, query, headers, body, args):
    return {"query": query, "headers": headers, "body": body.hex(), "args": args}, 201, {"x-answer": "42"}


def fail(influxdb3_local, query, headers, body, args):
    influxdb3_local.write(LineBuilder("left_behind").int64_field("x", 1))
    raise ValueError("the plugin gave up")


def segfault(influxdb3_local, query, headers, body, args):
    os.write(2, b"last words\n")
    ctypes.string_at(0)


def leave(influxdb3_local, query, headers, body, args):
    os._exit(7)


def spin(influxdb3_local, query, headers, body, args):
    while True:
        pass


def wait(influxdb3_local, query, headers, body, args):
    """Waits for a file, and leaves one when it is stopped."""
    try:
        # A stop may come as soon as the file is there, so that has to be the last step.
        with open(query["started"] + ".new", "w") as started:
            started.write(str(os.getpid()))
        os.replace(query["started"] + ".new", query["started"])
        while not os.path.exists(query["gate"]):
            time.sleep(0.01)
    except BaseException:
        pathlib.Path(query["stopped"]).touch()
        raise
    return "waited"


def ask(influxdb3_local, query, headers, body, args):
    """Runs the query in the body; the answer shows the rows and the types of their values."""
    asked = json.loads(body)
    try:
        rows = influxdb3_local.query(asked["sql"], asked.get("parameters"))
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)}
    return {"rows": rows, "types": [{name: type(value).__name__ for name, value in row.items()} for row in rows]}


def write_now(influxdb3_local, query, headers, body, args):
    """Writes at once, and then fails if it is told to."""
    line = LineBuilder("at_once").int64_field("x", 1)
    try:
        influxdb3_local.write_sync(line, query.get("no_sync") == "true")
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)}
    if query.get("then") == "fail":
        raise ValueError("after the write")
    return {"written": True}


def write(influxdb3_local, query, headers, body, args):
    """Writes when it has returned, to each database that the body names."""
    for database in body.decode().split() or [None]:
        line = LineBuilder("later").int64_field("x", 1)
        if database is None:
            influxdb3_local.write(line)
        else:
            influxdb3_local.write_to_db(database, line)
    return "returned"


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return globals()[query_parameters["do"]](influxdb3_local, query_parameters, request_headers, request_body, args)

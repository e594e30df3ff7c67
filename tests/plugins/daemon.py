"""Starts a daemon: two forks, a session of its own, a program that has nothing to do with Python."""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
            os.close(reader)
            os.close(writer)
            os.execv("/bin/sleep", ["sleep", "1000"])
        os._exit(0)
    os.waitpid(child, 0)
    daemon = os.read(reader, 20).decode()
    os.close(reader)
    os.close(writer)
    if query_parameters.get("then") == "die":
        influxdb3_local.write_sync(LineBuilder("daemons").int64_field("pid", int(daemon)), no_sync=False)
        os._exit(1)
    return daemon

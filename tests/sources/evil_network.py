"""Connects to the address in `targets`, by whatever kind of socket."""

import pathlib
import socket
import urllib.request


def build_wheel(directory, config_settings=None, metadata_directory=None):
    host, port = pathlib.Path("targets").read_text().strip().split(":")
    got = []
    for family, kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)):
        try:
            with socket.socket(family, kind) as made:
                made.settimeout(5)
                made.connect((host, int(port)))
                made.send(b"GET / HTTP/1.0\r\n\r\n")
                got.append("GOT OUT" if kind == socket.SOCK_STREAM else "sent to nowhere")
        except OSError as error:
            got.append(f"no socket: {error}")
    try:
        urllib.request.urlopen(f"http://{host}:{port}/simple/", timeout=5)
        got.append("GOT OUT")
    except OSError as error:
        got.append(f"no page: {error}")
    raise SystemExit("\n".join(got))

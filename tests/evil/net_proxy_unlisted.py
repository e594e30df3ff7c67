"""Asks its proxy for hosts that are not on its list.

grant: {"allow_net": ["*.example.org"]}
only with: namespaces
expect: 403 403 403 403 400
"""

import os
import socket


def ask(line):
    host, _, port = os.environ["http_proxy"].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 20) as proxy:
        proxy.sendall(f"{line} HTTP/1.1\r\nHost: a.example.org\r\n\r\n".encode())
        return proxy.recv(1000).split()[1].decode()


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    port = query_parameters["port"]
    return " ".join(
        [
            ask(f"CONNECT 127.0.0.1:{port}"),
            ask(f"CONNECT localhost:{port}"),
            ask("CONNECT a.example.org.example.net:443"),
            ask(f"GET http://127.0.0.1:{port}/"),
            ask("GET /"),
        ]
    )

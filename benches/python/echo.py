"""Send back what comes, over the socket that is standard input."""

import socket

MESSAGE_BYTES_MAX = 4096


def main() -> None:
    """Echo until the other end is closed."""
    with socket.socket(fileno=0) as peer:
        while message := peer.recv(MESSAGE_BYTES_MAX):
            peer.sendall(message)


if __name__ == "__main__":
    main()

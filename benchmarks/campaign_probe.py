"""Ask `/live` on a new connection again and again, until the standard input ends; print the seconds of each answer."""

import math
import select
import socket
import sys
import time

PAUSE_SECONDS, MOST_SECONDS, READ_BYTES = 0.1, 60, 4096


def main() -> None:
    """Ask on the port that the command line names."""
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        began = time.monotonic()
        lives = _lives(int(sys.argv[1]))
        print(time.monotonic() - began if lives else math.inf, flush=True)


def _lives(port: int) -> bool:
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), MOST_SECONDS) as client:
            client.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while part := client.recv(READ_BYTES):
                answer += part
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 200")


if __name__ == "__main__":
    main()

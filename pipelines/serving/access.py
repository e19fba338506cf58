"""The tokens of clients: whose they are, and how many requests each may send."""

import hmac
import math
import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import UserError
from pipelines.serving.request_errors import Kind, RequestError

READABLE_BY_OTHERS = 0o004


class Access:
    """The tokens that a server accepts, with a limit of requests for each.

    The limit is a token bucket that holds the requests of one second; it is kept as the time at which the bucket of a
    client will be full again (the generic cell rate algorithm of ITU-T I.371).
    """

    def __init__(self, tokens: Mapping[str, str], requests_per_second: float | None):
        self._tokens = {name: token.encode() for name, token in tokens.items()}
        self._interval = 1 / requests_per_second if requests_per_second else 0.0  # seconds for each request
        self._full: dict[str, float] = {}

    def client(self, token: str) -> str | None:
        """Return the name that belongs to a token, or None if there is none; the time it takes tells nothing of them.

        Without tokens, everyone is the client "".
        """
        if not self._tokens:
            return ""
        given = token.encode()
        found = [name for name, own in self._tokens.items() if hmac.compare_digest(given, own)]
        return found[0] if found else None

    def count(self, client: str) -> None:
        """Count a request of a client.

        Raises:
            RequestError: If the client sends too many.
        """
        if not self._interval:
            return
        now = time.monotonic()
        full = max(self._full.get(client, now), now)
        wait = full - now - max(0.0, 1 - self._interval)
        if wait > 0:
            reason = f"this token may send {1 / self._interval:g} requests per second; try again in {wait:.1f} s"
            raise RequestError(Kind.BUSY, reason, retry_seconds=math.ceil(wait))
        self._full[client] = full + self._interval


def read_tokens(file: Path) -> dict[str, str]:
    """Read tokens from lines `name: token`; empty lines and those that begin with # are left out.

    Raises:
        UserError: If the file cannot be read, may be read by other users, or has a line that is not such a one.
    """
    try:
        if file.stat().st_mode & READABLE_BY_OTHERS:
            raise UserError(str(file), f"other users can read these tokens; run: chmod o-r {file}")
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(file), f"cannot read the tokens: {error}") from None
    tokens: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, token = map(str.strip, line.partition(":"))
        if not name or not token.isascii() or token.split() != [token]:
            reason = "should be a name and a token of ASCII letters, digits and signs, such as: billing: 6f1c0b"
            raise UserError(f"{file}:{number}", reason)
        if name in tokens or token in tokens.values():
            raise UserError(f"{file}:{number}", "this name or token is in the file already; each must be of its own")
        tokens[name] = token
    if not tokens:
        raise UserError(str(file), "has no tokens; write a line for each client, such as: billing: 6f1c0b")
    return tokens

"""Hostile HTTP requests from a seeded generator: places, headers, lengths, chunks, and slow or broken connections."""

import random

from campaign_clean import Model
from campaign_http import HALF_CLOSE, LEAVE, SLOW, Attack, Step, clean
from campaign_json import MEBIBYTE

METHODS = (
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "POST",
    "BREW",
    "get",
    "",
    "P" * 9_000,
)


def places(random: random.Random, models: list[Model]) -> Attack:
    """Make a path, version or method that is not there."""
    model = random.choice(models).name
    place = random.choice(
        (
            *(
                f"/v1/models/{model}/versions/{number}:predict"
                for number in (0, 2, -1, 10**30, "%C2%B2", "1.0", "", "9" * 5_000)
            ),
            *(f"/v1/models/{model}/labels/{label}:predict" for label in ("none", "%00", "a" * 5_000, "..%2f..", "")),
            *(f"/v1/models/{model}{end}" for end in ("", "/", "//", "/metadata", ":", "::predict", ":predict:predict")),
            *(f"/v2/models/{model}/versions/{number}/ready" for number in ("9" * 5_000, "9" * 19, "-1")),
            *(
                f"/v2/models/{model}/{end}"
                for end in ("ready", "versions/9/infer", "versions/1/ready", "stats", "infer/")
            ),
            *(
                "/v1/models/none:predict",
                "/v2/models/none/infer",
                "/v1/models/%00:predict",
                "/v1/models/",
                "/v1/models",
            ),
            *("/../../etc/passwd", "/v1/models/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//", "/\\..\\x", "*"),
            *(
                "http://127.0.0.1:1/live",
                "/v2/repository/index",
                "/v2/repository/models/x/load",
                "/docs/../x",
                "/metrics",
            ),
            *("/" + "a" * 60_000, "/" + "a/" * 20_000, "/?" + "a" * 60_000, "/%", "/%ff%fe", "/\xff", "/a b", "/#x"),
            *(
                "/openapi.json",
                "/docs",
                "/monitoring/prometheus/metrics",
                "/favicon.ico",
                "/live?x",
                "/ready/x",
                "live",
            ),
        )
    )
    method = random.choice(METHODS)
    lines = [f"{method} {place} {random.choice(('HTTP/1.1',) * 8 + ('HTTP/1.0', 'HTTP/2.0', 'HTTP/9', '', 'x'))}"]
    lines += ["Host: localhost", "Connection: close", "Content-Length: 2"]
    return Attack("HTTP", "places and methods", ["\r\n".join([*lines, "", "{}"]).encode("latin-1")])


def headers(random: random.Random, models: list[Model]) -> Attack:
    """Make a request with odd headers."""
    protocol, place, body = clean(random, models)
    given = random.choice(
        (
            [f"X-{number}: a" for number in range(random.choice((100, 5_000)))],
            ["X: " + "a" * random.choice((10_000, 100_000, 300_000))],
            [" folded: x", "\tmore"],
            ["No colon"],
            [": no name"],
            ["Bad name\x00: x"],
            ["Name : x"],
            ["X-Request-ID: " + random.choice(("\x01", "a" * 5_000, "a\x85b", "{}"))],
            ["X-Routing-Key: " + "\xff" * 1_000],
            ["Authorization: " + random.choice(("Basic !!", "Bearer \xff", "Bearer", "Basic " + "A" * 9_999))],
            ["Expect: " + random.choice(("100-continue", "200-ok"))],
            ["Upgrade: " + random.choice(("h2c", "websocket", "TLS/1.0")), "Connection: Upgrade"],
            ["Host: a", "Host: b"],
            ["Accept-Encoding: gzip;q=x, *;q=-1", "Accept: \x7f"],
            ["Inference-Header-Content-Length: " + random.choice(("-1", "x", "0", "9" * 40, "9" * 5_000, "\xb2", ""))],
            ["Range: bytes=0-0", "If-None-Match: *", "If-Modified-Since: x"],
            ["Cookie: " + "a=b; " * 5_000],
            ["traceparent: 00-zz-zz-01", "Origin: null", "X-Forwarded-For: 1.1.1.1, \xff"],
        )
    )
    return Attack(protocol, "headers", [_head(place, [*given, f"Content-Length: {len(body)}"]) + body])


def lengths(random: random.Random, models: list[Model]) -> Attack:
    """Make a body whose length is not the one that was told."""
    protocol, place, body = clean(random, models)
    told = random.choice(
        (
            [f"Content-Length: {len(body) + 100}"],
            [f"Content-Length: {len(body) - 1}"],
            ["Content-Length: " + random.choice(("-1", "x", "1e3", "0x10", "+5", "", "9" * 19, "9" * 40, "\xb2"))],
            [f"Content-Length: {len(body)}", "Content-Length: 3"],
            [f"Content-Length: {len(body)}, {len(body)}"],
            [f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"],
            [],
            [f"Content-Length: {64 * MEBIBYTE}"],
        )
    )
    end: list[Step] = random.choice(([], [HALF_CLOSE], [LEAVE]))
    return Attack(protocol, "lengths", [_head(place, told) + body, *end])


def chunks(random: random.Random, models: list[Model]) -> Attack:
    """Make a chunked body, some of them wrong."""
    protocol, place, body = clean(random, models)
    end = b"0\r\n\r\n"
    parts: list[Step] = [
        *random.choice(
            (
                [b"".join(b"1\r\n%c\r\n" % byte for byte in body), end],
                [_chunk(body), b"0\r\nTrailer: x\r\nContent-Length: 5\r\n\r\n"],
                [_chunk(body, b";a=" + b"b" * 10_000), end],
                [_chunk(body)],
                [b"%x\r\n" % (len(body) + 5), body, b"\r\n", end],
                [b"-1\r\n", body, b"\r\n", end],
                [b"f" * random.choice((16, 17, 300)) + b"\r\n", body],
                [b"x\r\n", body],
                [b"%x\n%b\n0\n\n" % (len(body), body)],
                [end, _chunk(body)],
                [_chunk(bytes(MEBIBYTE)) for _ in range(40)],
                [b"0" * 100_000],
                [_chunk(body), b"0\r\n" + b"A: b\r\n" * 50_000 + b"\r\n"],
            )
        )
    ]
    kind = random.choice(("chunked",) * 5 + ("gzip, chunked", "chunked, chunked", "x", "chunked\x0b", "identity"))
    return Attack(protocol, "chunks", [_head(place, [f"Transfer-Encoding: {kind}"]), *parts])


def _chunk(body: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(body), extension, body)


def slow(random: random.Random, models: list[Model]) -> Attack:
    """Headers or a body that come slowly or never."""
    protocol, place, body = clean(random, models)
    head = _head(place, [f"Content-Length: {len(body)}"])
    whole = random.choice((head[: len(head) // 2], head, head + body))
    count = random.randrange(2, 7)
    size = -(-len(whole) // count)
    steps: list[Step] = []
    for start in range(0, len(whole), size):
        steps += [whole[start : start + size], SLOW]
    if random.random() < 0.3:
        steps = [whole[: random.randrange(1, len(whole))]]
    return Attack(protocol, "slow", steps)


def broken(random: random.Random, models: list[Model]) -> Attack:
    """Make a connection that is left or half closed in the middle, or on which much comes at once."""
    protocol, place, body = clean(random, models)
    whole = _head(place, [f"Content-Length: {len(body)}"]) + body
    kept = whole.replace(b"Connection: close\r\n", b"")
    cut = random.randrange(1, len(whole))
    steps: list[Step] = random.choice(
        (
            [whole[:cut], LEAVE],
            [whole[:cut], HALF_CLOSE],
            [whole, HALF_CLOSE],
            [whole, LEAVE],
            [whole, random.random() / 20, LEAVE],
            [kept * random.randrange(2, 20) + whole],
            [kept * random.randrange(2, 20), LEAVE],
            [kept + b"GARBAGE\r\n\r\n" + whole],
            [random.randbytes(random.choice((1, 1_000, 100_000)))],
            [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500)],
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)],
            [b"\r\n" * 50 + whole],
            [b"\n\n\n"],
            [],
        )
    )
    return Attack(protocol, "connections", steps)


def _head(place: str, lines: list[str]) -> bytes:
    first = [f"POST {place} HTTP/1.1", "Host: localhost", "Connection: close", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, "", ""]).encode("latin-1")

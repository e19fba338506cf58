"""Archives that are no longer what was written."""

import gzip


def broken_archive() -> bytes:
    """Give a gzip archive whose header is right and whose content is not."""
    content = bytearray(gzip.compress(b"Ann B-PER\n" * 50))
    content[12:30] = bytes(255 - byte for byte in content[12:30])
    return bytes(content)

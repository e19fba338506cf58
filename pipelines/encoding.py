"""The type of the setting `encoding`."""

import codecs
from typing import Annotated

from pydantic import AfterValidator, Field

NAMES = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}  # codecs for domains and source code


def _known(name: str) -> str:
    try:
        "".encode(name)  # raises LookupError for codecs that do not encode text
        if codecs.lookup(name).name in NAMES:
            raise LookupError
    except LookupError:
        raise ValueError("should be an encoding that Python knows, such as utf-8, cp1252 or utf-16-le") from None
    return name


Encoding = Annotated[
    str,
    AfterValidator(_known),
    Field(
        description="encoding of files without a byte order mark, such as utf-8, cp1252 (Windows, western Europe)"
        " or shift_jis",
        json_schema_extra={"format": "encoding"},
    ),
]

"""The request of a form as commands to copy: for curl, and for Python."""

import json
import shlex
from collections.abc import Mapping
from pprint import pformat
from typing import Any

from pipelines.serving.models.signatures import DEFAULT
from pipelines.serving.models.streaming import START
from pipelines.serving.settings import TOKEN_VARIABLE

FILE = "image.jpg"  # in place of the content of an image
_MARK = "CONTENT-OF-THE-IMAGE"
_FROM_FILE = f'base64.b64encode(open("{FILE}", "rb").read()).decode()'
WIDTH = 100


def body_of(signature: str, instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request for one instance; images are left out."""
    plain = {name: {"b64": _MARK} if isinstance(value, dict) else value for name, value in instance.items()}
    if signature == START:
        return {"inputs": {name: [value] for name, value in plain.items()}}
    return ({} if signature == DEFAULT else {"signature_name": signature}) | {"instances": [plain]}


def as_curl(url: str, body: Mapping[str, Any], with_token: bool) -> str:
    """Return a command for a POSIX shell."""
    command = ["curl", "-N"] if "inputs" in body else ["curl"]
    command.append(shlex.quote(url))
    if with_token:
        command.append(f'-H "Authorization: Bearer ${TOKEN_VARIABLE}"')
    before, *after = json.dumps(body, ensure_ascii=False).split(_MARK)
    if not after:
        return " ".join([*command, "-d", shlex.quote(before)])
    # An image is too long for an argument.
    parts = [f"printf %s {shlex.quote(before)}"]
    parts += [f"base64 < {FILE} | tr -d '\\n'; printf %s {shlex.quote(each)}" for each in after]
    return f"({'; '.join(parts)}) |\n  {' '.join([*command, '-d @-'])}"


def as_python(url: str, body: Mapping[str, Any], with_token: bool) -> str:
    """Return a program that uses the package `requests`."""
    written = pformat(body, width=WIDTH, sort_dicts=False)
    with_image, is_stream = repr(_MARK) in written, "inputs" in body
    lines = [*(["import base64"] if with_image else []), *(["import json"] if is_stream else [])]
    lines += [*(["import os"] if with_token else []), *([""] if lines or with_token else []), "import requests", ""]
    lines.append(f"body = {written.replace(repr(_MARK), _FROM_FILE)}")
    token = f', headers={{"Authorization": "Bearer " + os.environ["{TOKEN_VARIABLE}"]}}' if with_token else ""
    lines.append(f'answer = requests.post("{url}", json=body{token}{", stream=True" if is_stream else ""})')
    lines.append("answer.raise_for_status()")
    if is_stream:
        lines += [
            "for line in answer.iter_lines():",
            '    if line.startswith(b"data: "):',
            '        print(json.loads(line[6:])["text"], end="", flush=True)',
        ]
    else:
        lines.append('print(answer.json()["predictions"][0])')
    return "\n".join(lines)

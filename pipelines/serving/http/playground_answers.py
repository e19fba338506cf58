"""Answers on the playground: from the outputs of a signature to HTML, and to bars of probabilities."""

import base64
import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.tensors import Spec, to_json

# Outputs that mark parts of a text by character offsets.
STARTS, STOPS, KINDS, CERTAINTIES, PARTS = "start", "stop", "type", "probability", "entity"
PROBABILITIES, CONTRIBUTIONS = "probabilities", "contribution"
HEADLINE = 60  # characters; longer texts are not bold
MOST_CHARACTERS = 20_000  # of a nested output
PNG = b"\x89PNG"
HUES = 7
STYLE = """
.answer {font-size: 1.15em; overflow-x: auto} .answer b {white-space: pre-wrap} .answer b.text {font-weight: normal}
.answer .first {font-size: 1.25em} .answer img {max-width: 100%; image-rendering: pixelated; min-width: 12em}
.answer table {border-collapse: collapse; margin-top: .5em; font-size: .85em}
.answer td, .answer th {padding: .15em .8em .15em 0; text-align: left}
.answer .marked {white-space: pre-wrap; line-height: 2}
.answer mark {padding: .15em .3em; border-radius: .3em; color: #111} .answer mark small {opacity: .75}
.answer pre {white-space: pre-wrap; font-size: .75em; max-height: 20em; overflow: auto}
.failed {border-left: .3em solid #c0392b; background: #c0392b22; padding: .6em 1em; white-space: pre-wrap}
"""


def bars_of(signature: Signature) -> tuple[str, str] | None:
    """Return the outputs that name classes and tell their probabilities, if there are such."""
    wide = [name for name, spec in signature.outputs.items() if len(spec.shape or ()) == 2]
    names = next((name for name in wide if signature.outputs[name].is_text), None)
    return (names, PROBABILITIES) if names is not None and PROBABILITIES in wide else None


def text_of_marks(signature: Signature) -> str | None:
    """Return the input whose parts the outputs mark, or None if they mark none."""
    texts = [name for name, spec in signature.inputs.items() if spec.is_text and len(spec.shape or ()) == 1]
    marks = {STARTS, STOPS, KINDS} <= set(signature.outputs)
    return texts[0] if marks and len(texts) == len(signature.inputs) == 1 else None


def answer(signature: Signature, outputs: Arrays, instance: dict[str, Any]) -> str:
    """Return the outputs for one instance as HTML; what is drawn as bars is left out.

    Texts come before numbers, and both before lists.
    """
    text, left, said = text_of_marks(signature), set(signature.outputs) - {*(bars_of(signature) or ())}, []
    if text is not None:
        said.append(marked(instance[text], outputs))
        left -= {STARTS, STOPS, KINDS, CERTAINTIES, PARTS}
    names = sorted(left, key=lambda name: (outputs[name].ndim, not signature.outputs[name].is_text, name))
    lines = [name for name in names if outputs[name].ndim < 2]
    said += [_line(signature.outputs[name], outputs[name], place == 0) for place, name in enumerate(lines)]
    wide = [name for name in names if outputs[name].ndim == 2]
    for length in dict.fromkeys(outputs[name].shape[1] for name in wide):
        alike = [name for name in wide if outputs[name].shape[1] == length]
        said.append(_table(alike, outputs) if len(alike) > 1 else _line(signature.outputs[alike[0]], outputs[alike[0]]))
    said += [_folded(name, outputs[name]) for name in names if outputs[name].ndim > 2]
    return "\n".join(said)


def marked(text: str, outputs: Arrays) -> str:
    """Return a text as HTML, with its entities, their types and their probabilities."""
    names = [name for name in (STARTS, STOPS, KINDS, CERTAINTIES) if name in outputs]
    found = [row for row in zip(*(outputs[name][0].tolist() for name in names), strict=True) if row[2]]
    kinds, said, at = sorted({row[2] for row in found}), [], 0
    for start, stop, kind, *certain in sorted(found):
        if start < at:  # within the one before
            continue
        hue = 360 * kinds.index(kind) // max(HUES, len(kinds))
        told = " ".join([html.escape(kind.decode()), *(f"{share:.0%}" for share in certain)])
        said.append(html.escape(text[at:start]))
        said.append(
            f'<mark style="background: hsl({hue} 75% 82%)">{html.escape(text[start:stop])} <small>{told}</small></mark>'
        )
        at = stop
    end = "" if found else "<br><small>No entities found.</small>"
    return f'<div class="marked">{"".join(said)}{html.escape(text[at:])}{end}</div>'


def _line(spec: Spec, array: np.ndarray, is_first: bool = False) -> str:
    kind = ' class="first"' if is_first else ""
    value = array.reshape(-1)[0] if array.ndim < 2 else None
    if isinstance(value, bytes) and value.startswith(PNG):
        drawn = base64.b64encode(value).decode()
        return f'<div>{html.escape(spec.name)}:<br><img alt="" src="data:image/png;base64,{drawn}"></div>'
    return f"<div{kind}>{html.escape(spec.name)}: {_tagged(_written(to_json(array, spec.name)))}</div>"


def _table(names: Sequence[str], outputs: Arrays) -> str:
    columns = [to_json(outputs[name][:1], name)[0] for name in names]
    rows = list(zip(*columns, strict=True))
    if CONTRIBUTIONS in names:  # the largest first
        rows.sort(key=lambda row: -abs(row[names.index(CONTRIBUTIONS)]))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(_short(value))}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _folded(name: str, array: np.ndarray) -> str:
    written = json.dumps(to_json(array[0], name), ensure_ascii=False)
    cut = " ..." if len(written) > MOST_CHARACTERS else ""
    shape = " x ".join(map(str, array.shape[1:]))
    return (
        f"<details><summary>{html.escape(name)} ({shape})</summary>"
        f"<pre>{html.escape(written[:MOST_CHARACTERS])}{cut}</pre></details>"
    )


def _tagged(text: str) -> str:
    kind = ' class="text"' if len(text) > HEADLINE else ""  # long texts in bold are hard to read
    return f"<b{kind}>{html.escape(text)}</b>"


def _written(value: Any) -> str:
    first = value[0] if isinstance(value, list) else value
    if isinstance(first, list):
        return ", ".join(_short(each) for each in first if each != "")
    return _short(first)


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"

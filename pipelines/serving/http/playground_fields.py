"""Fields of the playground: from the inputs of a signature to components, and from their values to a request."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.export_folder import ExportVersion
from pipelines.serving.models.signatures import DEFAULT, Signature
from pipelines.serving.models.tensors import Spec, to_json
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import invalid

IMAGE = "image"
FIELDS_IN_A_ROW = 4
FIELDS_IN_SIGHT = 12  # the others are folded
MOST_LONG_TEXTS = 2  # with more, the texts are cells of a table
COVERED = 0.5  # least share of train in the frequent categories; below, a column is free text
OTHERS = "others"  # the name of a sketch for the categories that are not frequent
WHITE = str.maketrans({" ": "(space)", "\n": "(new line)", "\t": "(tab)"})


@dataclass(frozen=True)
class Hints:
    """What an export tells of its inputs: their order in the table, and the frequent categories of each."""

    order: Sequence[str]
    categories: Mapping[str, Sequence[str]]

    @staticmethod
    def read(version: Version) -> "Hints":
        """Read them from the sketch of the training data, or from the metadata of an export without one."""
        path = ExportVersion(version.folder).sketch
        if not path.is_file():
            return Hints(list(version.about.get("reading", {}).get("columns", {})), {})
        sketch = json.loads(path.read_text(encoding="utf-8"))
        if sketch["content"] != "cells":
            return Hints([], {})
        shares = {name: column["shares"] or {} for name, column in sketch["columns"].items()}
        frequent = {name: [each for each in known if each != OTHERS] for name, known in shares.items()}
        covered = {name: sum(shares[name][each] for each in frequent[name]) for name in frequent}
        return Hints(sketch["inputs"], {name: frequent[name] for name in frequent if covered[name] >= COVERED})


def ordered(signature: Signature, order: Sequence[str]) -> list[str]:
    """Return the inputs in the order of the table; those with a default come last, and else texts come first."""
    places = {name: place for place, name in enumerate(order)}

    def place(name: str) -> tuple[bool, int, bool]:
        return name in signature.defaults, places.get(name, len(places)), not signature.inputs[name].is_text

    return sorted(signature.inputs, key=place)


def examples(version: Version, signature: Signature) -> dict[str, Any]:
    """Return the initial values of the fields: defaults, and the inputs of a recorded request, without images."""
    recorded = {**version.examples.get(DEFAULT, {}), **version.examples.get(signature.name, {})}
    values = {name: to_json(array[:1], name)[0] for name, array in recorded.items() if array.ndim}
    known = {
        name: value for name, value in values.items() if value == value and not _is_image(name)
    }  # missing numbers are NaN
    return {name: value for name, value in {**known, **signature.defaults}.items() if name in signature.inputs}


def fields(signature: Signature, names: Sequence[str], hints: Hints, values: Mapping[str, Any]) -> list[Any]:
    """Return a component for each name: long texts one below the other, others side by side, many of them folded."""
    texts = [name for name in names if _is_long(signature, name, hints)]
    texts = texts if len(texts) <= MOST_LONG_TEXTS else []
    made = {name: _field(signature.inputs[name], values.get(name), hints, lines=4) for name in texts}
    cells = [name for name in names if name not in made]

    def add(some: Sequence[str]) -> None:
        for first in range(0, len(some), FIELDS_IN_A_ROW):
            with gr.Row():
                for name in some[first : first + FIELDS_IN_A_ROW]:
                    made[name] = _field(signature.inputs[name], values.get(name), hints)

    add(cells[:FIELDS_IN_SIGHT])
    if cells[FIELDS_IN_SIGHT:]:
        with gr.Accordion(f"{len(cells) - FIELDS_IN_SIGHT} more inputs", open=False):
            add(cells[FIELDS_IN_SIGHT:])
    return [made[name] for name in names]


def _is_long(signature: Signature, name: str, hints: Hints) -> bool:
    spec = signature.inputs[name]
    is_cell = name in hints.order or name in signature.defaults
    return spec.is_text and _is_single(spec) and not is_cell and not _is_image(name)


def _is_image(name: str) -> bool:
    return IMAGE in name.lower()


def _is_single(spec: Spec) -> bool:
    return spec.shape is not None and len(spec.shape) == 1


def _field(spec: Spec, value: Any, hints: Hints, lines: int = 1) -> Any:
    name = spec.name
    if not _is_single(spec):
        written = json.dumps([] if value is None else value, ensure_ascii=False)
        return gr.Code(label=f"{name} (JSON)", language="json", value=written, interactive=True)
    if spec.is_text and _is_image(name):
        return gr.Image(label=name, type="filepath", sources=["upload", "clipboard"], height=320, interactive=True)
    if spec.is_text and name in hints.categories:
        known = [each for each in dict.fromkeys([*hints.categories[name], value]) if each]
        choices = [*((each, each) for each in known), ("(missing)", "")]
        return gr.Dropdown(choices, value=value or "", label=name, allow_custom_value=True, interactive=True)
    if spec.is_text:
        return gr.Textbox(label=name, value=value or "", lines=lines, interactive=True)
    if spec.dtype.is_bool:
        return gr.Checkbox(label=name, value=bool(value), interactive=True)
    kind = "a number, or empty" if spec.is_float else "a whole number"
    # Six digits: a float32 has no more, and 0.1 would be read as 0.10000000149.
    written = "" if value is None else f"{value:.6g}" if spec.is_float else str(value)
    return gr.Textbox(label=name, value=written, placeholder=kind, interactive=True)


def value_of(spec: Spec, value: Any, image: dict[str, str] | None = None) -> Any:
    """Return the value of a field as a request has it; `image` stands in place of the content of an image.

    Raises:
        RequestError: If it is of another kind; it names the input.
    """
    if not _is_single(spec):
        try:
            return json.loads(value or "null")
        except ValueError:
            raise invalid(f"{spec.name} is not valid JSON") from None
    if spec.is_text and _is_image(spec.name):
        if image is not None:
            return image
        if value is None:
            raise invalid("choose an image first")
        return {"b64": base64.b64encode(Path(value).read_bytes()).decode()}
    if spec.is_text or spec.dtype.is_bool:
        return value or "" if spec.is_text else value
    try:
        return int(value) if spec.dtype.is_integer else float(value) if value.strip() else None
    except ValueError:
        raise invalid(f"{spec.name} must be a number, not {value!r}") from None


def visible(text: str) -> str:
    """Return a text with a name in place of white space alone, or of nothing."""
    return text.translate(WHITE) if text.isspace() else text or "(empty)"

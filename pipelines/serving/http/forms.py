"""Web forms for models, generated from their signatures."""

import base64
import html
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from pipelines.serving.http.tf_serving_rest import rows
from pipelines.serving.models.signatures import DEFAULT, Arrays, Signature
from pipelines.serving.models.streaming import START
from pipelines.serving.models.tensors import Spec, to_json
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import RequestError
from pipelines.serving.service import Address, Service

IMAGE = "image"
STARTS, STOPS, KINDS = "start", "stop", "type"  # outputs that mark parts of a text by character offsets
FIELDS_IN_A_ROW = 4
FIELDS_ABOVE = 12  # with more fields, the answer is shown above them
MOST_BARS = 10
SPACES = str.maketrans({" ": "(space)", "\n": "(new line)", "\t": "(tab)"})
HEADLINE = 60  # characters; longer texts are not bold
STYLE = ".answer {font-size: 1.3em} .answer b {white-space: pre-wrap} .answer b.text {font-weight: normal}"


@dataclass(frozen=True)
class Shown:
    """A way to display outputs: a component, and a function from outputs and instance to its value."""

    component: Callable[[], Any]
    value: Callable[[Arrays, dict[str, Any]], Any]


def mount(app: FastAPI, service: Service, place: str) -> None:
    """Add the page of forms; it is rendered on each page load, so that it shows the current versions."""
    with gr.Blocks(title="Models", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown("# Models\nTry the served models. Programs can use the [API](/docs).")

        @gr.render(triggers=[page.load])
        def forms() -> None:
            with gr.Tabs():
                for name, model in service.catalogue.models.items():
                    with gr.Tab(name, id=name):
                        _form(service, name, model.find() if model.versions else None)

    gr.mount_gradio_app(
        app,
        page,
        place,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=service.settings.max_body_bytes,
        ssr_mode=False,
        mcp_server=False,
        css=STYLE,
    )


def _form(service: Service, name: str, version: Version | None) -> None:
    if version is None or DEFAULT not in version.signatures:
        gr.Markdown(
            "This model is not loaded yet. Reload the page in a moment."
            if version is None
            else f"This model cannot be tried here because it has no signature `{DEFAULT}`."
        )
        return
    signature = version.signatures[DEFAULT]
    about = [
        f"Version {version.number}",
        *(f"{key} `{version.about[key]}`" for key in ("task", "model") if key in version.about),
    ]
    gr.Markdown(", ".join(about))
    many = len(signature.inputs) > FIELDS_ABOVE
    fields = [] if many else _fields(signature, _example(version))
    shown = ways_to_show(signature)
    with gr.Row():
        button = gr.Button("Predict", variant="primary")
        streamed = gr.Button("Stream text") if START in version.signatures else None
    results = [way.component() for way in shown]
    if many:  # below many fields, the answer would be off screen
        fields = _fields(signature, _example(version))
    button.click(partial(_ask, service, name, signature, shown), fields, results, api_visibility="private")
    if streamed is not None:
        text = gr.Textbox(label="text", lines=6, interactive=False)
        streamed.click(partial(_stream, service, name, signature), fields, text, api_visibility="private")


def _fields(signature: Signature, example: dict[str, Any]) -> list[Any]:
    made, names = [], list(signature.inputs)
    for first in range(0, len(names), FIELDS_IN_A_ROW):
        with gr.Row():
            for name in names[first : first + FIELDS_IN_A_ROW]:
                made.append(_field(signature.inputs[name], example.get(name), len(names) == 1))
    return made


def _field(spec: Spec, example: Any, only: bool) -> Any:
    if spec.shape is None or len(spec.shape) != 1:
        return gr.Code(label=f"{spec.name} (JSON)", language="json", value="[]", interactive=True)
    if spec.is_text and IMAGE in spec.name.lower():
        return gr.Image(label=spec.name, type="filepath", sources=["upload", "clipboard"], height=320, interactive=True)
    if spec.is_text:
        return gr.Textbox(label=spec.name, value=example or "", lines=4 if only else 1, interactive=True)
    if spec.dtype.is_bool:
        return gr.Checkbox(label=spec.name, value=bool(example), interactive=True)
    kind = "a number, or empty" if spec.dtype.is_floating else "a whole number"
    value = "" if example is None else f"{example:g}"
    return gr.Textbox(label=spec.name, value=value, placeholder=kind, interactive=True)


def ways_to_show(signature: Signature) -> list[Shown]:
    """Return the displays for the outputs of a signature: highlighted text, probability bars, or plain values."""
    outputs, left = signature.outputs, set(signature.outputs)
    text = next((name for name, spec in signature.inputs.items() if spec.is_text), None)
    shown = []
    if {STARTS, STOPS, KINDS} <= left and text is not None and len(signature.inputs) == 1:
        shown.append(Shown(lambda: gr.HighlightedText(label=text, show_legend=True), partial(marked, text)))
        left = set()
    wide = [name for name in sorted(left) if len(outputs[name].shape or ()) == 2]
    names = next((name for name in wide if outputs[name].is_text), None)
    weights = next((name for name in wide if outputs[name].dtype.is_floating), None)
    if names and weights:
        shown.append(
            Shown(
                lambda: gr.Label(label=names, num_top_classes=MOST_BARS, show_heading=False),
                partial(bars, names, weights),
            )
        )
        left -= {names, weights}
    if left:
        shown.insert(0, Shown(lambda: gr.HTML(elem_classes="answer"), partial(plain, sorted(left))))
    return shown


def marked(text: str, outputs: Arrays, instance: dict[str, Any]) -> dict[str, Any]:
    """Return the value of a highlighted text: the input text and its entities."""
    found = zip(outputs[STARTS][0].tolist(), outputs[STOPS][0].tolist(), outputs[KINDS][0].tolist(), strict=True)
    entities = [{"entity": kind.decode(), "start": start, "end": stop} for start, stop, kind in found if kind]
    return {"text": instance[text], "entities": entities}


def bars(names: str, weights: str, outputs: Arrays, instance: dict[str, Any]) -> dict[str, float]:
    """Return the probability of each name in the outputs."""
    pairs = zip(to_json(outputs[names][0], names), outputs[weights][0].tolist(), strict=True)
    return {_visible(str(name)): weight for name, weight in pairs}


def _visible(name: str) -> str:
    return name.translate(SPACES) if name.isspace() else name or "(empty)"


def plain(names: list[str], outputs: Arrays, instance: dict[str, Any]) -> str:
    """Return the outputs and their names as HTML."""
    values = {name: to_json(outputs[name][:1], name)[0] for name in names}
    return "<br>".join(f"{html.escape(name)}: {_tagged(_written(value))}" for name, value in values.items())


def _tagged(text: str) -> str:
    kind = ' class="text"' if len(text) > HEADLINE else ""  # long texts in bold are hard to read
    return f"<b{kind}>{html.escape(text)}</b>"


def _written(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


async def _ask(service: Service, name: str, signature: Signature, shown: list[Shown], *values: Any) -> Any:
    instance = _instance(signature, values)
    try:
        answer = await service.answer(Address(name), DEFAULT, partial(rows, [instance], service.settings.max_rows))
    except RequestError as error:
        raise gr.Error(error.reason) from None
    results = [way.value(answer.outputs, instance) for way in shown]
    return results[0] if len(results) == 1 else results


async def _stream(service: Service, name: str, signature: Signature, *values: Any) -> AsyncIterator[str]:
    text = ""
    try:
        read = partial(rows, [_instance(signature, values)], service.settings.max_rows)
        async with service.stream(Address(name), read) as pieces:
            async for piece in pieces:
                text += piece.text
                yield text
    except RequestError as error:
        raise gr.Error(error.reason) from None


def _instance(signature: Signature, values: tuple[Any, ...]) -> dict[str, Any]:
    return {name: _value(spec, value) for (name, spec), value in zip(signature.inputs.items(), values, strict=True)}


def _value(spec: Spec, value: Any) -> Any:
    if spec.shape is None or len(spec.shape) != 1:
        try:
            return json.loads(value or "null")
        except ValueError:
            raise gr.Error(f"{spec.name} is not valid JSON") from None
    if spec.is_text and IMAGE in spec.name.lower():
        if value is None:
            raise gr.Error("choose an image first")
        return {"b64": base64.b64encode(Path(value).read_bytes()).decode()}
    if spec.is_text or spec.dtype.is_bool:
        return value
    try:
        return int(value) if spec.dtype.is_integer else float(value) if value.strip() else None
    except ValueError:
        raise gr.Error(f"{spec.name} must be a number, not {value!r}") from None


def _example(version: Version) -> dict[str, Any]:
    """Return the initial field values from a recorded request, without images."""
    recorded = {name: array[0] for name, array in version.examples.get(DEFAULT, {}).items() if array.ndim == 1}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else None if value != value else value.item()
        for name, value in recorded.items()
        if IMAGE not in name.lower()
    }

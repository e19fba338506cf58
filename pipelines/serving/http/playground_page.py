"""The page of the playground: a tab for each model, and in it a form for each signature."""

import html
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from fastapi import FastAPI

from pipelines.export_folder import ExportVersion
from pipelines.serving.http.playground_answers import STYLE, answer, bars_of
from pipelines.serving.http.playground_fields import Hints, examples, fields, ordered, value_of, visible
from pipelines.serving.http.playground_snippets import as_curl, as_python, body_of
from pipelines.serving.http.tf_serving_rest import rows
from pipelines.serving.models.signatures import DEFAULT, Arrays, Signature
from pipelines.serving.models.streaming import START, STEP
from pipelines.serving.models.tensors import to_json
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import RequestError
from pipelines.serving.service import Address, Service

COPY = "serve"  # a signature that Keras exports: the default one under a second name
MOST_BARS = 10
FIELDS_ABOVE = 8  # with more fields, the answer is shown above them


def mount(app: FastAPI, service: Service, place: str) -> None:
    """Add the page; it is rendered on each page load, so that it shows the current versions."""
    with gr.Blocks(title="Models", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown("# Models\nTry the served models. Programs can use the [API](/docs).")

        @gr.render(triggers=[page.load])
        def forms(request: gr.Request) -> None:
            server = f"{request.url.scheme}://{request.url.netloc}"
            with gr.Tabs():
                for name, model in service.catalogue.models.items():
                    with gr.Tab(name, id=name):
                        _model(service, name, model.find() if model.versions else None, server)

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


def _model(service: Service, name: str, version: Version | None, server: str) -> None:
    if version is None:
        gr.Markdown("This model is not loaded yet. Reload the page in a moment.")
        return
    about = [f"{key} `{version.about[key]}`" for key in ("task", "model") if key in version.about]
    gr.Markdown(", ".join([f"Version {version.number}", *about]))
    hints, names = Hints.read(version), choosable(version)
    if len(names) == 1:
        Form(service, name, version.signatures[names[0]], server).add(version, hints)
    else:
        with gr.Tabs():
            for signature in names:
                with gr.Tab("stream" if signature == START else signature, id=f"{name} {signature}"):
                    Form(service, name, version.signatures[signature], server).add(version, hints)
    card = ExportVersion(version.folder).model_card
    if card.is_file():
        with gr.Accordion("Model card", open=False):
            gr.Markdown(card.read_text(encoding="utf-8"))


def choosable(version: Version) -> list[str]:
    """Return the signatures that a person may call: streams first, then the default one, and the others by name."""
    inner = {STEP, *([COPY] if DEFAULT in version.signatures else [])}
    first = [START, DEFAULT]
    return sorted(version.signatures.keys() - inner, key=lambda name: (name not in first, name != START, name))


@dataclass(frozen=True)
class Form:
    """A form for one signature of a model."""

    service: Service
    model: str
    signature: Signature
    server: str  # its address, as the browser has it

    def add(self, version: Version, hints: Hints) -> None:
        """Add the components to the page."""
        names = ordered(self.signature, hints.order)
        add_fields = partial(fields, self.signature, names, hints, examples(version, self.signature))
        many, streams = len(names) > FIELDS_ABOVE, self.signature.name == START
        inputs = [] if many else add_fields()
        button = gr.Button("Stream text" if streams else "Predict", variant="primary")
        failed = gr.HTML(visible=False, elem_classes="failed")
        result = gr.Textbox(label="text", lines=6, interactive=False) if streams else gr.HTML(elem_classes="answer")
        bars = bars_of(self.signature) if not streams else None
        shares = [gr.Label(label=bars[0], num_top_classes=MOST_BARS, show_heading=False, visible=False)] if bars else []
        inputs = inputs or add_fields()  # below many fields, the answer would be off screen
        with gr.Accordion("Call it from a program", open=False):
            asked = _Asked(self, tuple(names))
            curl, python = asked.code([each.value for each in inputs])
            code = [gr.Code(curl, label="curl", language="shell"), gr.Code(python, label="Python", language="python")]
        button.click(
            asked.stream if streams else asked.predict,
            inputs,
            [failed, *code, result, *shares],
            api_visibility="private",
        )


@dataclass(frozen=True)
class _Asked:
    """What happens on a click; the values are those of the fields, by the order of `names`."""

    form: Form
    names: tuple[str, ...]

    async def predict(self, *values: Any) -> list[Any]:
        form, signature = self.form, self.form.signature
        bars = bars_of(signature)
        try:
            instance = self._instance(values)
            read = partial(rows, [instance], form.service.settings.max_rows)
            found = await form.service.answer(Address(form.model), signature.name, read)
        except RequestError as error:
            return [_failure(error), gr.skip(), gr.skip(), "", *([gr.Label(visible=False)] if bars else [])]
        shown = [gr.Label(_bars(*bars, found.outputs), visible=True)] if bars else []
        return [gr.HTML(visible=False), *self.code(values), answer(signature, found.outputs, instance), *shown]

    async def stream(self, *values: Any) -> AsyncIterator[list[Any]]:
        form, text = self.form, ""
        try:
            instance = self._instance(values)
            read = partial(rows, [instance], form.service.settings.max_rows)
            code = self.code(values)
            async with form.service.stream(Address(form.model), read) as pieces:
                async for piece in pieces:
                    text += piece.text
                    yield [gr.HTML(visible=False), *code, text]
        except RequestError as error:
            yield [_failure(error), gr.skip(), gr.skip(), text]

    def _instance(self, values: Sequence[Any], image: dict[str, str] | None = None) -> dict[str, Any]:
        specs = self.form.signature.inputs
        return {name: value_of(specs[name], value, image) for name, value in zip(self.names, values, strict=True)}

    def code(self, values: Sequence[Any]) -> list[str]:
        """Return the request as commands for curl and Python."""
        form = self.form
        instance = self._instance(values, {"b64": ""})
        verb = "stream" if form.signature.name == START else "predict"
        url, with_token = f"{form.server}/v1/models/{form.model}:{verb}", form.service.settings.token is not None
        body = body_of(form.signature.name, instance)
        return [as_curl(url, body, with_token), as_python(url, body, with_token)]


def _failure(error: RequestError) -> Any:
    return gr.HTML(html.escape(error.reason), visible=True)


def _bars(names: str, shares: str, outputs: Arrays) -> dict[str, float]:
    pairs = zip(to_json(outputs[names][0], names), outputs[shares][0].tolist(), strict=True)
    return {visible(str(name)): share for name, share in pairs}

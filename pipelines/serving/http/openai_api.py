"""OpenAI's API for models that write texts: completions, chats and the list of models.

https://platform.openai.com/docs/api-reference
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from pipelines.serving.http.bodies import MODELS, NAMED, failure_body, read_object, written
from pipelines.serving.http.chat import last_of_user, prompt_of
from pipelines.serving.http.events import Events, event
from pipelines.serving.http.openai_answers import Writing, described
from pipelines.serving.http.openai_requests import SEEDS, Asked, Chat, Completion, read_chat, read_completion
from pipelines.serving.http.tf_serving_rest import columns
from pipelines.serving.models.streaming import START, Piece
from pipelines.serving.models.versions import Version
from pipelines.serving.request_errors import RequestError, invalid
from pipelines.serving.service import Address, Service

PROMPT, SOURCE, COUNT = "prompt", "source", "count"  # inputs of the signatures that write
N_BEST = "n_best"  # signature that writes several texts at once
DONE = b"data: [DONE]\n\n"

Pieces = AsyncIterator[tuple[int, Piece]]  # each with the place of its choice


def router(service: Service) -> APIRouter:
    """Return the routes of the API."""
    routes = APIRouter(tags=["OpenAI's API"])
    for place, kind, read, summary in (
        ("/v1/completions", Completion, read_completion, "Continue texts"),
        ("/v1/chat/completions", Chat, read_chat, "Answer a conversation"),
    ):
        body = {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}
        routes.add_api_route(
            place,
            partial(_write, service, read),
            methods=["POST"],
            summary=summary,
            operation_id=kind.__name__.lower(),
            openapi_extra={"requestBody": body},
        )

    @routes.get(MODELS, summary="List the models")
    async def models() -> Response:
        served = [model for model in service.catalogue.models.values() if model.versions]
        return written({"object": "list", "data": [described(model.find(), model.name) for model in served]})

    return routes


async def _write(service: Service, read: Callable[[dict[str, Any]], Asked], request: Request) -> Response:
    content = await request.body()
    asked = read(await read_object(service, content))
    request.scope[NAMED] = asked.model
    try:
        version = service.choose(Address(asked.model))
    except RequestError as error:
        raise RequestError(error.kind, error.reason, "model") from None
    writes = START in version.signatures and PROMPT in version.signatures[START].inputs
    if not writes and N_BEST not in version.signatures:
        raise invalid(f"model '{asked.model}' writes no texts; use /v1/models/{asked.model}:predict", "model")
    prompts = await service.conversions.run(len(content), _prompts, asked, version, writes)
    most = service.settings.max_streams if writes else service.settings.max_rows
    if len(prompts) * asked.count > most:  # now, since even noting so many takes long
        raise invalid(f"at most {most:,} texts are written for a request, which are the prompts times n", "n")
    if writes:
        pieces = _streamed(service, asked, _settings(asked, version), prompts)
    else:
        pieces = _at_once(service, asked, version, prompts)
    writing = Writing(asked, version, len(prompts))
    if asked.stream:
        return Events(_events(writing, pieces))
    async with pieces as each:
        async for index, piece in each:
            writing.take(index, piece)
    return written(writing.whole())


def _prompts(asked: Asked, version: Version, writes: bool) -> list[str]:
    if asked.prompts is not None:
        return asked.prompts
    if not writes:
        return [last_of_user(asked.messages)]
    if "chat" not in version.about:
        raise invalid(f"model '{asked.model}' has no chat template; use /v1/completions", "model")
    return [prompt_of(version.about["chat"], asked.messages)]


@contextlib.asynccontextmanager
async def _events(
    writing: Writing, pieces: contextlib.AbstractAsyncContextManager[Pieces]
) -> AsyncIterator[AsyncIterator[bytes]]:
    async with pieces as each:
        yield _parts(writing, each)


async def _parts(writing: Writing, pieces: Pieces) -> AsyncIterator[bytes]:
    try:
        async for index, piece in pieces:
            yield event(writing.take(index, piece))
        if writing.asked.counts_tokens:
            yield event(writing.last())
        yield DONE
    except RequestError as error:
        yield event(failure_body(error.reason, error.kind.http, error.parameter))


def _settings(asked: Asked, version: Version) -> dict[str, Any]:
    """Return the values of the inputs of a stream that are asked for, but the prompt.

    Raises:
        RequestError: If the model cannot do what is asked.
    """
    start = version.signatures[START]
    stops = asked.stops
    if asked.is_chat:
        end = version.about["chat"]["eos_token"]
        stops = [*(stops or []), *([end] if end else [])]
    given = {**asked.sampling, **({} if stops is None else {"stop": stops})}
    impossible = next((name for name in given if name not in start.inputs), None)
    if asked.likely is not None and "token" not in start.outputs:
        impossible = "logprobs"
    if impossible:
        raise invalid(f"model '{asked.model}' does not take {impossible}; leave it out", impossible)
    return given


@contextlib.asynccontextmanager
async def _streamed(
    service: Service, asked: Asked, settings: dict[str, Any], prompts: Sequence[str]
) -> AsyncIterator[Pieces]:
    """Write each choice as a stream; choice i of a prompt has the seed plus i."""
    defaults = service.choose(Address(asked.model)).signatures[START].defaults
    seed = settings.get("seed", defaults.get("seed", 0))
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for prompt in prompts:
            for number in range(asked.count):
                own = {"seed": (seed + number) % SEEDS} if number else {}
                inputs = {name: [value] for name, value in {PROMPT: prompt, **settings, **own}.items()}
                stream = service.stream(Address(asked.model), partial(columns, inputs, 1), len(prompt))
                streams.append(await stack.enter_async_context(stream))
        yield _merged(streams)


async def _merged(streams: Sequence[AsyncIterator[Piece]]) -> Pieces:
    """Yield the pieces of several streams as they come."""
    waiting = {asyncio.ensure_future(_next(stream)): index for index, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                index, piece = waiting.pop(task), task.result()
                yield index, piece
                if not piece.finished:
                    waiting[asyncio.ensure_future(_next(streams[index]))] = index
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _next(stream: AsyncIterator[Piece]) -> Piece:
    return await anext(stream)


@contextlib.asynccontextmanager
async def _at_once(service: Service, asked: Asked, version: Version, prompts: Sequence[str]) -> AsyncIterator[Pieces]:
    """Write the best texts that a search finds, each as one piece."""
    _check_search(asked, version)
    inputs = {SOURCE: list(prompts), COUNT: [asked.count] * len(prompts)}
    read = partial(columns, inputs, service.settings.max_rows)
    answer = await service.answer(Address(asked.model), N_BEST, read, size=sum(map(len, prompts)))
    found = answer.outputs
    pieces = []
    for row in range(len(prompts)):
        for number in range(asked.count):
            text, count = found["translations"][row, number].decode(errors="replace"), int(found["tokens"][row, number])
            if count > asked.sampling.get("max_tokens", count):
                reason = f"model '{asked.model}' writes whole texts only; this one has {count} tokens"
                raise invalid(reason, "max_tokens")
            for stop in filter(None, asked.stops or []):
                text = text.partition(stop)[0]
            pieces.append(Piece(text, True, {"read": found["source_tokens"][row]}, count))

    async def each() -> Pieces:
        for place in enumerate(pieces):
            yield place

    yield each()


def _check_search(asked: Asked, version: Version) -> None:
    """Check that a search can do what is asked.

    Raises:
        RequestError: If it cannot.
    """
    signature = version.signatures[N_BEST]
    for name, harmless in {"temperature": 0, "top_p": 1, "top_k": 0}.items():
        if asked.sampling.get(name, harmless) != harmless:
            reason = f"model '{asked.model}' searches for the most probable text and draws nothing; leave out {name}"
            raise invalid(reason, name)
    if asked.likely is not None:
        raise invalid(f"model '{asked.model}' does not tell logprobs; leave it out", "logprobs")
    most = signature.defaults.get(COUNT, 1)
    if asked.count > most:
        raise invalid(f"n must be at most {most}, the number of beams of model '{asked.model}'", "n")
    if "tokens" not in signature.outputs:
        raise invalid(f"model '{asked.model}' does not count its tokens; export it again", "model")

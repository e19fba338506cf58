"""Request bodies of OpenAI's API: what is asked for, and refusal of what no model here can do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import did_you_mean
from pipelines.serving.request_errors import invalid

MOST_STOPS = 16
MOST_LIKELY = 20  # tokens at one place
SEEDS = 1 << 31  # seeds of the models; greater ones are folded
# Parameters that change an answer in a way that no model here can -> values that change nothing.
WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), (None, 0)),
    **dict.fromkeys(("suffix", "audio", "prediction", "web_search_options", "reasoning_effort", "verbosity"), (None,)),
    **dict.fromkeys(("tools", "functions"), (None, [])),
    **dict.fromkeys(("tool_choice", "function_call"), (None, "none")),
    **{"logit_bias": (None, {}), "echo": (None, False), "store": (None, False), "modalities": (None, ["text"])},
    **{"response_format": (None, {"type": "text"}), "service_tier": (None, "auto", "default")},
    "parallel_tool_calls": (None, False, True),
}

Stops = str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None


class Sampling(BaseModel):
    """The parameters that completions and chats share."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str
    max_tokens: int | None = Field(None, ge=1, description="maximum number of new tokens; default: the model's")
    temperature: float | None = Field(None, ge=0, description="0: always the most probable token; default: the model's")
    top_p: float | None = Field(None, gt=0, le=1, description="default: the model's")
    top_k: int | None = Field(None, ge=0, lt=1 << 31, description="not of OpenAI's API; 0: all; default: the model's")
    seed: int | None = Field(None, description="default: the model's, so that the same request has the same answer")
    stop: Stops = Field(None, description="one or several texts before which to end; default: the model's")
    n: int | None = Field(None, ge=1, description="number of choices")
    stream: bool | None = None
    stream_options: dict[str, bool] | None = Field(None, description="include_usage: count the tokens at the end")
    user: str | None = Field(None, description="without effect")
    metadata: dict[str, str] | None = Field(None, description="without effect")


class Completion(Sampling):
    """The body of a request to continue texts."""

    prompt: str | Annotated[list[str], Field(min_length=1)] = Field(description="one or several texts")
    logprobs: int | None = Field(None, ge=0, le=MOST_LIKELY, description="number of likely tokens to tell")
    best_of: int | None = Field(None, ge=1, description="must equal n")


class Chat(Sampling):
    """The body of a request to answer a conversation."""

    messages: list[dict[str, Any]] = Field(min_length=1, description="objects with role and content")
    max_completion_tokens: int | None = Field(None, ge=1, description="as max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LIKELY, description="number of likely tokens to tell")


@dataclass(frozen=True)
class Asked:
    """What is asked of a model, whichever way."""

    model: str
    prompts: list[str] | None  # None: to be made of the messages
    messages: list[dict[str, Any]]
    sampling: dict[str, Any]  # max_tokens, temperature, top_p, top_k, seed, if given
    stops: list[str] | None
    count: int  # of choices for each prompt
    likely: int | None  # number of likely tokens to tell; None: not even the own one
    stream: bool
    counts_tokens: bool = field(default=True)  # at the end of a stream

    @property
    def is_chat(self) -> bool:
        """Return whether the answer is a message."""
        return self.prompts is None


def read_completion(body: dict[str, Any]) -> Asked:
    """Read the body of a request to `/v1/completions`.

    Raises:
        RequestError: If a parameter is unknown, invalid or impossible; it names the parameter.
    """
    read = _validated(Completion, body)
    if read.best_of not in (None, read.n or 1):
        raise invalid("best_of must equal n, or be left out", "best_of")
    prompts = [read.prompt] if isinstance(read.prompt, str) else read.prompt
    return _asked(read, prompts, [], read.logprobs)


def read_chat(body: dict[str, Any]) -> Asked:
    """Read the body of a request to `/v1/chat/completions`.

    Raises:
        RequestError: If a parameter is unknown, invalid or impossible; it names the parameter.
    """
    read = _validated(Chat, body)
    if read.top_logprobs is not None and not read.logprobs:
        raise invalid("top_logprobs needs logprobs: true", "top_logprobs")
    if read.max_completion_tokens is not None:
        read.max_tokens = read.max_completion_tokens
    messages = [_message(message, f"messages[{number}]") for number, message in enumerate(read.messages)]
    return _asked(read, None, messages, (read.top_logprobs or 0) if read.logprobs else None)


def _validated(kind: type[BaseModel], body: dict[str, Any]) -> Any:
    for name in WITHOUT_EFFECT.keys() & body.keys():
        if body[name] not in WITHOUT_EFFECT[name]:
            raise invalid(f"{name} is not supported; leave it out", name)
    given = {name: value for name, value in body.items() if name not in WITHOUT_EFFECT}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        faults = error.errors()  # of a text or a list of texts, those of the list follow
        first = next((fault for fault in faults if fault["type"] != "string_type"), faults[0])
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            reason = f"unknown parameter '{name}'{did_you_mean(name, sorted(kind.model_fields))}"
            raise invalid(reason, name) from None
        raise invalid(f"{name}: {first['msg']}", name) from None


def _asked(read: Any, prompts: list[str] | None, messages: list[dict[str, Any]], likely: int | None) -> Asked:
    options = read.stream_options or {}
    if options.keys() - {"include_usage", "include_obfuscation"}:
        raise invalid("stream_options takes include_usage", "stream_options")
    names = ("max_tokens", "temperature", "top_p", "top_k", "seed")
    sampling = {name: getattr(read, name) for name in names if getattr(read, name) is not None}
    if "seed" in sampling:
        sampling["seed"] %= SEEDS
    stops = [read.stop] if isinstance(read.stop, str) else read.stop
    counts = not read.stream or options.get("include_usage", False)
    return Asked(
        read.model, prompts, messages, sampling, stops, read.n or 1, likely, bool(read.stream), counts_tokens=counts
    )


def _message(message: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a message whose content is one text."""
    content = message.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise invalid(f"{where}: only parts of type text are supported", "messages")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or not isinstance(message.get("role"), str):
        raise invalid(f"{where} must have a role and a content, which are texts", "messages")
    return {**message, "content": content}

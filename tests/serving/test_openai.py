"""OpenAI's API, asked with the client that OpenAI publishes."""

import asyncio
import json
import math

import httpx
import pytest
from serving.servers import until

openai = pytest.importorskip("openai")

HELLO = [{"role": "system", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]


@pytest.fixture(scope="module")
def client(toys_server):
    return openai.OpenAI(base_url=f"{toys_server.url}/v1", api_key="none", max_retries=0, timeout=60)


def test_models_are_listed_and_tensorflow_serving_is_still_answered(client, toys_server):
    assert {"writer", "mirror", "adder"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("writer").object == "model"
    assert set(toys_server.get("/v1/models/writer").json()) == {"model_version_status"}
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("none")
    assert error.value.code == "model_not_found"


def test_a_stream_has_the_parts_of_the_whole(client):
    asked = {"model": "writer", "prompt": ["one", "three"], "n": 2, "logprobs": 3, "stop": ["c"], "max_tokens": 8}
    whole = client.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in whole.choices[:2]] == [choice.text for choice in whole.choices[2:]]
    parts = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert parts[-1].usage == whole.usage and not parts[-1].choices
    for choice in whole.choices:
        own = [part.choices[0] for part in parts[:-1] if part.choices[0].index == choice.index]
        assert "".join(part.text for part in own) == choice.text
        assert [part.logprobs.tokens[0] for part in own] == choice.logprobs.tokens
        assert [part.finish_reason for part in own] == [None] * (len(own) - 1) + [choice.finish_reason]
        assert choice.finish_reason == ("stop" if choice.logprobs.tokens[-1] == "c" else "length")
        assert choice.text == "".join(choice.logprobs.tokens).removesuffix("c")
        assert choice.logprobs.token_logprobs == pytest.approx([math.log(1 / 8)] * len(choice.logprobs.tokens))
        assert choice.logprobs.text_offset == list(range(len(choice.logprobs.tokens)))
        assert all(list(likely) == ["a", "b", "c"] for likely in choice.logprobs.top_logprobs)
    assert whole.usage.prompt_tokens == len("one") + len("three")
    assert whole.usage.completion_tokens == sum(len(choice.logprobs.tokens) for choice in whole.choices)


def test_sampling_is_asked_for_and_choices_count_seeds_up(client):
    def texts(**asked):
        answer = client.completions.create(model="writer", prompt="x", max_tokens=9, **asked)
        return [choice.text for choice in answer.choices]

    assert texts(temperature=0) == ["aaaaaaaaa"]
    assert texts(seed=5, n=3) == texts(seed=5) + texts(seed=6) + texts(seed=7)
    assert texts(seed=5) != texts(seed=6)
    assert texts(n=2) == texts(seed=1) + texts(seed=2)  # the model's own seed
    assert texts(seed=(1 << 40) + 5) == texts(seed=5)
    assert texts(seed=(1 << 31) - 1, n=2)[1] == texts(seed=0)[0]


def test_a_chat_goes_through_the_template_of_the_model(client):
    asked = {"model": "writer", "messages": HELLO, "logprobs": True, "top_logprobs": 2, "max_completion_tokens": 30}
    answer = client.chat.completions.create(**asked)
    (choice,) = answer.choices
    assert answer.usage.prompt_tokens == len("<system>be brief<user>hi<me>")
    assert choice.message.role == "assistant" and choice.finish_reason == "stop"  # "h" ends a turn
    tokens = [part.token for part in choice.logprobs.content]
    assert "".join(tokens) == choice.message.content + "h"
    assert [[likely.token for likely in part.top_logprobs] for part in choice.logprobs.content] == [["a", "b"]] * len(
        tokens
    )
    parts = list(client.chat.completions.create(**asked, stream=True))
    assert parts[0].choices[0].delta.role == "assistant"
    assert "".join(part.choices[0].delta.content for part in parts) == choice.message.content
    assert parts[-1].choices[0].finish_reason == "stop" and parts[-1].usage is None


def test_a_translator_translates_the_last_message_of_the_user(client):
    messages = [{"role": "user", "content": "one two"}, {"role": "user", "content": "three four five"}]
    answer = client.chat.completions.create(
        model="mirror", messages=messages, n=2, temperature=0, max_tokens=3, stop="three"
    )
    assert [choice.message.content for choice in answer.choices] == ["five four "] * 2
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 6)
    parts = list(client.completions.create(model="mirror", prompt=["a b", "c d"], stream=True))
    assert [(part.choices[0].index, part.choices[0].text) for part in parts] == [(0, "b a"), (1, "d c")]


TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
MISTAKES = {
    "no JSON": (TEXT, None, 400, None, "JSON"),
    "no model": (TEXT, {"prompt": "x"}, 400, "model", "required"),
    "unknown model": (TEXT, {"model": "none", "prompt": "x"}, 404, "model", "none"),
    "no writer": (TEXT, {"model": "adder", "prompt": "x"}, 400, "model", "use /v1/models/adder:predict"),
    "a typing error": (TEXT, {"model": "writer", "prompt": "x", "temprature": 1}, 400, "temprature", "'temperature'?"),
    "tokens": (TEXT, {"model": "writer", "prompt": [1, 2]}, 400, "prompt", "string"),
    "no prompts": (TEXT, {"model": "writer", "prompt": []}, 400, "prompt", "at least 1"),
    "too cold": (TEXT, {"model": "writer", "prompt": "x", "temperature": -1}, 400, "temperature", "greater"),
    "no number": (TEXT, '{"model": "writer", "prompt": "x", "temperature": NaN}', 400, "temperature", "finite"),
    "a text for a number": (TEXT, {"model": "writer", "prompt": "x", "n": "2"}, 400, "n", "integer"),
    "too long": (TEXT, {"model": "writer", "prompt": "x", "max_tokens": 901}, 400, None, "from 1 to 900"),
    "beyond int32": (TEXT, {"model": "writer", "prompt": "x", "max_tokens": 1 << 40}, 400, None, "max_tokens"),
    "too many": (TEXT, {"model": "writer", "prompt": "x", "n": 33}, 400, "n", "at most 32"),
    "echo": (TEXT, {"model": "writer", "prompt": "x", "echo": True}, 400, "echo", "leave it out"),
    "best of": (TEXT, {"model": "writer", "prompt": "x", "best_of": 3}, 400, "best_of", "equal n"),
    "many stops": (TEXT, {"model": "writer", "prompt": "x", "stop": ["x"] * 17}, 400, "stop", "16"),
    "a toy": (TEXT, {"model": "speller", "prompt": "x", "top_p": 0.5}, 400, "top_p", "does not take top_p"),
    "untold": (TEXT, {"model": "speller", "prompt": "x", "logprobs": 0}, 400, "logprobs", "does not take logprobs"),
    "tools": (CHAT, {"model": "writer", "messages": HELLO, "tools": [{}]}, 400, "tools", "not supported"),
    "no template": (CHAT, {"model": "plain", "messages": HELLO}, 400, "model", "/v1/completions"),
    "no messages": (CHAT, {"model": "writer", "messages": []}, 400, "messages", "at least 1"),
    "no role": (CHAT, {"model": "writer", "messages": [{"content": "x"}]}, 400, "messages", "messages[0]"),
    "a picture": (
        CHAT,
        {"model": "writer", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        400,
        "messages",
        "type text",
    ),
    "likely of nothing": (
        CHAT,
        {"model": "writer", "messages": HELLO, "top_logprobs": 2},
        400,
        "top_logprobs",
        "logprobs: true",
    ),
    "a search draws nothing": (
        CHAT,
        {"model": "mirror", "messages": HELLO, "temperature": 0.7},
        400,
        "temperature",
        "most probable",
    ),
    "a search is whole": (
        CHAT,
        {"model": "mirror", "messages": [{"role": "user", "content": "a b"}], "max_tokens": 1},
        400,
        "max_tokens",
        "2 tokens",
    ),
    "few beams": (TEXT, {"model": "mirror", "prompt": "x", "n": 3}, 400, "n", "at most 2"),
    "nobody asks": (CHAT, {"model": "mirror", "messages": HELLO[:1]}, 400, "messages", "role user"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_as_openai_does(mistake, toys_server):
    place, body, status, parameter, reason = MISTAKES[mistake]
    for stream in (False, True):
        sent = {**body, "stream": stream} if isinstance(body, dict) else body
        content = sent if isinstance(sent, str) else json.dumps(sent)
        answer = httpx.post(toys_server.url + place, content=content if body else "{", timeout=60)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["param"]) == (status, "invalid_request_error", parameter)
        assert reason in error["message"] and set(error) == {"message", "type", "param", "code"}


def test_each_gets_what_it_would_get_alone(toys_server):
    async def ask(client, seed: int) -> str:
        answer = await client.completions.create(model="writer", prompt="x", seed=seed, max_tokens=40)
        return answer.choices[0].text

    async def together() -> tuple[list[str], list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{toys_server.url}/v1", api_key="none", max_retries=0) as client:
            alone = [await ask(client, seed) for seed in range(6)]
            return alone, await asyncio.gather(*(ask(client, seed) for seed in range(6)))

    alone, beside = asyncio.run(together())
    assert alone == beside and len(set(alone)) == 6


def test_who_leaves_early_leaves_no_stream_behind(client):
    asked = {"model": "writer", "prompt": "x", "max_tokens": 900, "n": 4}
    for _ in range(12):  # more than may run at a time
        with client.completions.create(**asked, stream=True) as parts:
            assert next(iter(parts)).choices[0].text
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.05).completions.create(**asked)
    until(lambda: _runs(client), 20)


def _runs(client) -> bool:
    try:
        return len(client.completions.create(model="writer", prompt="x", n=32, max_tokens=1).choices) == 32
    except openai.RateLimitError as error:
        assert error.code == "rate_limit_exceeded"
        return False

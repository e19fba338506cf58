"""Chat templates of published models: from the messages of a conversation to a prompt."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipelines.serving.request_errors import invalid

Messages = Sequence[Mapping[str, Any]]


def prompt_of(chat: Mapping[str, str], messages: Messages) -> str:
    """Return the prompt of a conversation, up to the answer of the model.

    Templates run in a sandbox: they come with a model, and must not reach anything but the messages.

    Raises:
        RequestError: If the template refuses the messages.
    """
    try:
        return _compiled(chat["template"]).render(
            messages=messages,
            add_generation_prompt=True,
            bos_token=chat["bos_token"],
            eos_token=chat["eos_token"],
            tools=None,
        )
    except TemplateError as error:
        raise invalid(f"the chat template of the model refuses the messages: {error}", "messages") from None


def last_of_user(messages: Messages) -> str:
    """Return the last message of the user.

    Raises:
        RequestError: If there is none.
    """
    for message in reversed(messages):
        if message["role"] == "user":
            return message["content"]
    raise invalid("no message has the role user", "messages")


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def _refuse(reason: str) -> None:
    raise TemplateError(reason)

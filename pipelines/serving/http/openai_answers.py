"""Answers of OpenAI's API: whole ones, and the parts of a stream."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.serving.http.openai_requests import Asked
from pipelines.serving.models.streaming import Piece
from pipelines.serving.models.versions import Version

OWNER = "keras-task-pipelines"


def described(version: Version, name: str) -> dict[str, Any]:
    """Describe a model."""
    return {"id": name, "object": "model", "created": int(version.folder.stat().st_mtime), "owned_by": OWNER}


@dataclass
class Choice:
    """One of the texts that are asked for, as far as it is written."""

    prompt: int  # its place among the prompts
    texts: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    length: int = 0  # characters of the tokens so far
    tokens: int = 0
    read: int = 0
    reason: str | None = None

    def take(self, piece: Piece) -> None:
        """Note the length of another piece."""
        self.texts.append(piece.text)
        self.read = self.read or piece.read
        self.tokens += piece.count
        if piece.finished:
            self.reason = "stop" if piece.stopped else "length"


class Writing:
    """The answer to one request, in the form of a completion or of a chat."""

    def __init__(self, asked: Asked, version: Version, prompts: int):
        self.asked, self.choices = asked, [Choice(number // asked.count) for number in range(prompts * asked.count)]
        kind, self.object = ("chatcmpl", "chat.completion") if asked.is_chat else ("cmpl", "text_completion")
        self.head = {"id": f"{kind}-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
        self.head["system_fingerprint"] = f"{asked.model}-{version.number}"

    def whole(self) -> dict[str, Any]:
        """Return the whole answer, once every choice is written."""
        choices = []
        for index, choice in enumerate(self.choices):
            text = "".join(choice.texts)
            content = {"message": {"role": "assistant", "content": text}} if self.asked.is_chat else {"text": text}
            logprobs = self._logprobs(choice.logprobs)
            choices.append({"index": index, **content, "logprobs": logprobs, "finish_reason": choice.reason})
        return {**self.head, "object": self.object, "choices": choices, "usage": self._usage()}

    def take(self, index: int, piece: Piece) -> dict[str, Any]:
        """Add a piece to a choice, and return it as a part of a stream."""
        choice = self.choices[index]
        first = not choice.texts
        choice.take(piece)
        logprobs = [] if self.asked.likely is None else [self._logprob(choice, piece, self.asked.likely)]
        choice.logprobs += logprobs
        delta = {"role": "assistant", "content": piece.text} if first else {"content": piece.text}
        content = {"delta": delta} if self.asked.is_chat else {"text": piece.text}
        part = {"index": index, **content, "logprobs": self._logprobs(logprobs), "finish_reason": choice.reason}
        return self._part([part])

    def last(self) -> dict[str, Any]:
        """Return the part of a stream that counts the tokens."""
        return {**self._part([]), "usage": self._usage()}

    def _part(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = f"{self.object}.chunk" if self.asked.is_chat else self.object
        return {**self.head, "object": kind, "choices": choices}

    def _usage(self) -> dict[str, int]:
        read = sum(choice.read for choice in self.choices[:: self.asked.count])  # each prompt once
        written = sum(choice.tokens for choice in self.choices)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _logprob(self, choice: Choice, piece: Piece, most: int) -> dict[str, Any]:
        (token, logarithm), likely = piece.likely(most)
        place, choice.length = choice.length, choice.length + len(token)
        if self.asked.is_chat:
            others = [{"token": name, "logprob": value, "bytes": None} for name, value in likely]
            return {"token": token, "logprob": logarithm, "bytes": None, "top_logprobs": others}
        return {"tokens": token, "token_logprobs": logarithm, "top_logprobs": dict(likely), "text_offset": place}

    def _logprobs(self, each: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        if self.asked.likely is None:
            return None
        if self.asked.is_chat:
            return {"content": list(each), "refusal": None}
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        return {name: [one[name] for one in each] for name in names}

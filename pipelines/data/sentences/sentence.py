"""Define what all readers of tagged sentences return, and the checks that they share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import UserError, counted

LONG = 300  # tokens; a longer sentence is mostly a file without blank lines, or a whole document


@dataclass(frozen=True)
class Sentence:
    """Tokens, their tags as the source writes them, and their line numbers in `source`, from 1."""

    tokens: list[str]
    tags: list[str]
    source: str
    lines: list[int] = field(default_factory=list)
    is_bio: bool = False  # the reader made the tags from character offsets
    faults: dict[int, str] = field(default_factory=dict)  # token index -> what was wrong with the entity at this token
    lost: int = 0  # number of entities that could not be tagged
    groups: dict[str, str] = field(default_factory=dict)  # other values of its record, such as its document

    def place(self, token: int) -> str:
        """Return the file of a token, and its line if that is known."""
        return f"{self.source}:{self.lines[token]}" if self.lines else self.source


@dataclass(frozen=True)
class TaggedFile:
    """The sentences of a file, what its columns were read as, notes, and what was skipped."""

    sentences: list[Sentence]
    columns: dict[str, str]
    notes: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


def drop_blank_tokens(tokens: list[str], tags: list[Any], place: str) -> tuple[list[str], list[Any]]:
    """Remove tokens that are only blanks, which occur in tweets.

    Raises:
        UserError: If the numbers of tokens and tags differ.
    """
    if len(tokens) != len(tags):
        raise UserError(place, f"has {counted(len(tokens), 'token')}, but {counted(len(tags), 'tag')}")
    kept = [(token, tag) for token, tag in zip(tokens, tags, strict=True) if token.strip()]
    return [token for token, _ in kept], [tag for _, tag in kept]


def length_notes(sentences: list[Sentence], mend: str) -> list[str]:
    """Return notes on sentences that are so long, or so short, that their ends are probably wrong."""
    notes = []
    long = [sentence for sentence in sentences if len(sentence.tokens) > LONG]
    if long:
        most = max(long, key=lambda sentence: len(sentence.tokens))
        count = f"{len(long):,} of {len(sentences):,} sentences with more than {LONG} tokens"
        notes.append(f"{count}, up to {len(most.tokens):,} ({most.place(0)}): {mend}")
    short = sum(len(sentence.tokens) == 1 for sentence in sentences)
    if len(sentences) >= 10 and short > 0.9 * len(sentences):
        notes.append(
            f"{short:,} of {len(sentences):,} sentences have only one token, so tags are learned without context:"
            " check that there is not a blank line after each token"
        )
    return notes


def refuse_one_sentence(files: list[tuple[Path, TaggedFile]]) -> None:
    """Refuse data that is one long sentence, because it cannot be split.

    Raises:
        UserError: If the data is one long sentence. The message names the file and says what to do.
    """
    sentences = [sentence for _, file in files for sentence in file.sentences]
    if len(sentences) == 1 and len(sentences[0].tokens) > LONG:
        problem = f"contains a single sentence of {len(sentences[0].tokens):,} tokens, because it has no blank lines"
        mend = "put a blank line after each sentence, or set data.sentence_column to a column of sentence numbers"
        raise UserError(str(files[0][0]), f"{problem}; {mend}")

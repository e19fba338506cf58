"""What readers of tagged sentences give, whatever the form of the file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

LONG = 300  # tokens: a sentence of more is mostly a file that lacks blank lines, or a document


@dataclass(frozen=True)
class Sentence:
    """Tokens, their tags as the source writes them, and where they stand: `lines`, counted from 1, of `source`."""

    tokens: list[str]
    tags: list[str]
    source: str
    lines: list[int] = field(default_factory=list)
    is_bio: bool = False  # tags that the reader made of places in a text
    faults: dict[int, str] = field(default_factory=dict)  # token -> what was wrong with the entity that it is in
    lost: int = 0  # entities that no tag could be given for

    def place(self, token: int) -> str:
        """Say where a token stands."""
        return f"{self.source}:{self.lines[token]}" if self.lines else self.source


@dataclass(frozen=True)
class TaggedFile:
    """Sentences of a file, what its columns were taken for, what is odd in it, and what was left out."""

    sentences: list[Sentence]
    columns: dict[str, str]
    notes: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


def drop_blank_tokens(tokens: list[str], tags: list[Any], place: str) -> tuple[list[str], list[Any]]:
    """Leave out tokens of nothing but blanks, as tweets have.

    Raises:
        UserError: where tokens and tags differ in number.
    """
    if len(tokens) != len(tags):
        raise UserError(place, f"{len(tokens)} tokens, but {len(tags)} tags")
    kept = [(token, tag) for token, tag in zip(tokens, tags, strict=True) if token.strip()]
    return [token for token, _ in kept], [tag for _, tag in kept]


def length_notes(sentences: list[Sentence], mend: str) -> list[str]:
    """Say which sentences are so long, or all so short, that their ends are hardly where they belong."""
    notes = []
    long = [sentence for sentence in sentences if len(sentence.tokens) > LONG]
    if long:
        most = max(long, key=lambda sentence: len(sentence.tokens))
        count = f"{len(long):,} of {len(sentences):,} sentences have more than {LONG} tokens"
        notes.append(f"{count}, the longest {len(most.tokens):,} ({most.place(0)}): {mend}")
    short = sum(len(sentence.tokens) == 1 for sentence in sentences)
    if len(sentences) >= 10 and short > 0.9 * len(sentences):
        notes.append(
            f"{short:,} of {len(sentences):,} sentences are one token: no tag can be learnt from its neighbours;"
            " is a blank line after each token?"
        )
    return notes


def refuse_one_sentence(files: list[tuple[Path, TaggedFile]]) -> None:
    """Refuse data that is one long sentence: it cannot be split.

    Raises:
        UserError: naming the file and what would work.
    """
    sentences = [sentence for _, file in files for sentence in file.sentences]
    if len(sentences) == 1 and len(sentences[0].tokens) > LONG:
        problem = f"holds one sentence of {len(sentences[0].tokens):,} tokens, as no blank line ends a sentence"
        mend = "put a blank line after each sentence, or name a column of sentence numbers in data.sentence_column"
        raise UserError(str(files[0][0]), f"{problem}; {mend}")

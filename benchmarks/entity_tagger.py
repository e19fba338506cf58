"""Measure the ladder of entity taggers beside a CRF on hand-made features and spaCy, trained on the same sentences.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/entity_tagger.py btc --root FOLDER_OF_THE_CONLL_FILES
    python benchmarks/entity_tagger.py wnut17 --root FOLDER_OF_THE_CONLL_FILES

Each result is one line of `benchmarks/results/<data>.jsonl`; lines that are there are not measured again. Every choice
is made by validation; the test split is scored once, at the end.
"""

import random
import time

import click
import pandas as pd
from measured import CONFIGS, RESULTS, add_line, how, read_lines, train_once

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

SEEDS = 3
BARE = ("characters=none", "casing_width=0", "affix_width=0", "crf=false", "bidirectional=false")


def _rung(model: str, *settings: str) -> tuple[str, ...]:
    return (f"model={model}", *(f"models.{model}.{setting}" for setting in settings))


ROWS = {  # row of the table -> overrides of the config; each recurrent rung adds one thing to the one before
    "window": _rung("window"),
    "rnn": _rung("rnn", *BARE),
    "gru": _rung("gru", *BARE),
    "lstm": _rung("lstm", *BARE),
    "lstm, bidirectional": _rung("lstm", *BARE[:-1]),
    "lstm, bidirectional + characters": _rung("lstm", *BARE[1:-1]),
    "lstm, bidirectional + characters + crf": _rung("lstm", "casing_width=0", "affix_width=0"),
    "lstm, bidirectional + characters + crf + casing and affixes": _rung("lstm"),
    "transformer, the same inputs + crf": _rung("transformer"),
}
PEERS = ("sklearn-crfsuite", "spaCy ner")
TITLES = {
    "btc": "Broad Twitter Corpus (train a, b, e, g; validation h; test f)",
    "wnut17": "WNUT-17, emerging entities",
}


@click.command()
@click.argument("data", type=click.Choice(list(TITLES)))
@click.option("--root", required=True, help="Folder of the data's files.")
@click.option("--only", default="", help="Measure only rows with this in their name.")
@click.option("--seeds", default=SEEDS, show_default=True, help="Measure the seeds below this.")
def main(data: str, root: str, only: str, seeds: int) -> None:
    """Measure every row that is not measured yet, then write the table."""
    path = RESULTS / f"{data}.jsonl"
    done = read_lines(path)
    for seed in range(seeds):
        for name in (*ROWS, *PEERS):
            if only in name and not any(line["name"] == name and line["seed"] == seed for line in done):
                line = {
                    "name": name,
                    "seed": seed,
                    **measure(name, CONFIGS / "benchmarks" / f"{data}.yaml", root, seed),
                }
                click.echo({**line, "test": {k: v for k, v in line["test"].items() if "." not in k}})
                done.append(line)
                add_line(path, line)
    (RESULTS / f"{data}.md").write_text(table(data, done))


def measure(name: str, config, root: str, seed: int) -> dict:
    """Train one row and score it on validation and test."""
    given = [f"seed={seed}", f"data.root={root}"]
    if name in ROWS:
        return train_once(config, [*given, *ROWS[name]])
    from pipelines.config.load import load_config
    from pipelines.metrics.entity_f1 import entity_scores
    from pipelines.trained_model import load_run_dataset

    dataset = load_run_dataset(load_config(config, given))
    began = time.perf_counter()
    tag = (crfsuite if name == "sklearn-crfsuite" else spacy_ner)(dataset, seed)
    seconds = time.perf_counter() - began
    scores = {
        split: entity_scores(dataset[split]["tags"].tolist(), tag(dataset[split]["tokens"].tolist()))
        for split in ("validation", "test")
    }
    return {**scores, "training_seconds": round(seconds, 1), "data": dataset.record["fingerprint"]}


def crfsuite(dataset, seed: int):
    """Fit a CRF on word, affixes, shape and neighbours, its two penalties chosen on validation."""
    import sklearn_crfsuite

    from pipelines.metrics.entity_f1 import entity_scores

    def word(token: str) -> dict:
        shape = "".join("X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else c for c in token)
        return {
            "lower": token.lower(),
            **{f"suffix{n}": token[-n:] for n in (2, 3)},
            **{f"prefix{n}": token[:n] for n in (2, 3)},
            "shape": shape[:8],
            "upper": token.isupper(),
            "title": token.istitle(),
            "digit": token.isdigit(),
        }

    def features(tokens: list[str]) -> list[dict]:
        each = [word(token) for token in tokens]
        rows = []
        for at, own in enumerate(each):
            row = {"bias": 1.0, **own}
            for step in (-2, -1, 1, 2):
                if 0 <= at + step < len(each):
                    names = ("lower", "title", "upper", "shape") if abs(step) == 1 else ("lower",)
                    row |= {f"{step}:{name}": each[at + step][name] for name in names}
                else:
                    row[f"{step}:end"] = True
            rows.append(row)
        return rows

    tables = {split: [features(tokens) for tokens in dataset[split]["tokens"]] for split in ("train", "validation")}
    best, best_f1 = None, -1.0
    for c1, c2 in ((0.1, 0.1), (0.05, 0.01), (0.2, 0.05), (0.0, 1.0)):
        model = sklearn_crfsuite.CRF(algorithm="lbfgs", c1=c1, c2=c2, max_iterations=100, all_possible_transitions=True)
        model.fit(tables["train"], dataset.train["tags"].tolist())
        f1 = entity_scores(dataset.validation["tags"].tolist(), model.predict(tables["validation"]))["f1"]
        if f1 > best_f1:
            best, best_f1 = model, f1
    return lambda sentences: best.predict([features(tokens) for tokens in sentences])


def spacy_ner(dataset, seed: int, epochs: int = 20):
    """Train a blank English pipeline's entity recogniser, keeping its best epoch on validation."""
    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example, biluo_tags_to_offsets, iob_to_biluo
    from spacy.util import compounding, minibatch

    from pipelines.metrics.entity_f1 import entity_scores

    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")

    def example(tokens: list[str], tags: list[str]) -> Example:
        doc = Doc(nlp.vocab, words=tokens)
        return Example.from_dict(doc, {"entities": biluo_tags_to_offsets(doc, iob_to_biluo(tags))})

    def tag(sentences: list[list[str]]) -> list[list[str]]:
        docs = nlp.pipe([Doc(nlp.vocab, words=tokens) for tokens in sentences])
        return [[f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc] for doc in docs]

    rows = [example(*row) for row in zip(dataset.train["tokens"], dataset.train["tags"], strict=True)]
    optimizer = nlp.initialize(lambda: rows)
    shuffled, best, best_f1 = random.Random(seed), nlp.to_bytes(), -1.0
    for _ in range(epochs):
        shuffled.shuffle(rows)
        for batch in minibatch(rows, size=compounding(4.0, 32.0, 1.001)):
            nlp.update(batch, sgd=optimizer, drop=0.2)
        f1 = entity_scores(dataset.validation["tags"].tolist(), tag(dataset.validation["tokens"].tolist()))["f1"]
        if f1 > best_f1:
            best, best_f1 = nlp.to_bytes(), f1
    nlp.from_bytes(best)
    return tag


def table(data: str, lines: list[dict]) -> str:
    """Write the table of a data set."""
    heads = ("row", "test F1", "by seed", "precision", "recall", "validation F1", "parameters", "seconds of training")
    rows = [f"# {TITLES[data]}: entity F1, mean of seeds 0 to {SEEDS - 1}", ""]
    rows += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    frame = pd.DataFrame(lines)
    for name in (*ROWS, *PEERS):
        group = frame[frame["name"] == name].sort_values("seed")
        if group.empty:
            continue
        test, validation = (pd.DataFrame(list(group[split])) for split in ("test", "validation"))
        parameters = f"{group['parameters'].iloc[0]:,.0f}" if name in ROWS else ""
        means = [f"{test[column].mean():.3f}" for column in ("precision", "recall")]
        by_seed = " ".join(f"{value:.3f}" for value in test["f1"])
        cells = [name, f"{test['f1'].mean():.3f}", by_seed, *means, f"{validation['f1'].mean():.3f}", parameters]
        rows.append(f"| {' | '.join([*cells, f'{group.training_seconds.median():.0f}'])} |")
    packages = ("tensorflow", "keras", "sklearn-crfsuite", "python-crfsuite", "spacy")
    notes = (
        f"Config: `configs/benchmarks/{data}.yaml`; the row says what of it a rung has",
        "Peers: `sklearn-crfsuite` (lbfgs, 100 iterations) on word, affixes, shape and neighbours, penalties chosen on"
        " validation; spaCy, a blank English `ner`, 20 epochs, the best by validation. No row uses other data",
        f"Fingerprint of the test split: `{lines[0]['data']['test']}`",
    )
    return "\n".join([*rows, *how(f"python benchmarks/entity_tagger.py {data} --root FOLDER", packages, *notes)])


if __name__ == "__main__":
    main()

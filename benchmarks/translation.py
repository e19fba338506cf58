"""Measure the ladder of translators on Multi30k, English to German, test 2016.

    python -m pip install -r benchmarks/requirements.txt
    python benchmarks/translation.py --root FOLDER_OF_THE_GZ_FILES

Each result is one line of `benchmarks/results/multi30k.jsonl`; lines that are there are not measured again. Every
choice is made by validation; the test split is scored once, at the end. Published figures are of lower-cased text in
tokens of Moses: that is what `bleu_moses` computes, of the very translations that
the cased `bleu` of sacrebleu is computed of.
"""

import tempfile
from pathlib import Path

import click
from measured import CONFIGS, RESULTS, add_line, how, read_lines

from pipelines.tensorflow_startup import import_tensorflow

import_tensorflow(verbose=False)

CONFIG = CONFIGS / "benchmarks" / "multi30k.yaml"
WHOLE = "preprocessing.split_tokens=0"
ROWS = {  # row of the table -> overrides of the config
    "seq2seq, GRU without attention": ("model=seq2seq", "models.seq2seq.attention=none", WHOLE),
    "seq2seq, GRU with additive attention": ("model=seq2seq", WHOLE),
    "transformer, 4 + 4 layers of width 128": ("model=transformer",),
    "transformer, whole tokens": ("model=transformer", WHOLE),
    "transformer, whole tokens of lower-cased text": (
        "model=transformer",
        WHOLE,
        "preprocessing.lower_case=true",
        "training.monitor=validation.bleu_lower",  # as the references keep their case
    ),
}
METRICS = ("bleu_moses", "bleu_lower", "bleu", "chrf", "exact_match", "perplexity")
CASED = ("bleu", "chrf", "exact_match")  # which say nothing of a row that writes no capital


@click.command()
@click.option("--root", required=True, help="Folder of {train,val,test_2016_flickr}.{en,de}.gz.")
@click.option("--only", default="", help="Measure only rows with this in their name.")
@click.option("--seeds", default=1, show_default=True, help="Measure the seeds below this.")
@click.option("--set", "given", multiple=True, help="More overrides of the config.")
@click.option("--runs", type=click.Path(path_type=Path), help="Keep the run folders in this folder.")
def main(root: str, only: str, seeds: int, given: tuple[str, ...], runs: Path | None) -> None:
    """Measure every row that is not measured yet, then write the table."""
    path = RESULTS / "multi30k.jsonl"
    done = read_lines(path)
    for seed in range(seeds):
        for name, overrides in ROWS.items():
            if only in name and not any(line["name"] == name and line["seed"] == seed for line in done):
                settings = [f"data.root={root}", f"seed={seed}", *overrides, *given]
                with tempfile.TemporaryDirectory() as temporary:
                    folder = Path(runs or temporary) / f"{list(ROWS).index(name)}-{seed}"
                    line = {"name": name, "seed": seed, "given": list(given), **measure(settings, folder)}
                click.echo(line)
                done.append(line)
                add_line(path, line)
    (RESULTS / "multi30k.md").write_text(table(done))


def measure(overrides: list[str], folder: Path) -> dict:
    """Train one row and score it on validation and test."""
    from pipelines.commands.train import train
    from pipelines.trained_model import load_run_dataset

    trained, run = train(CONFIG, overrides, folder)
    history = run.history()
    test = load_run_dataset(trained.config).test
    own = [text.decode() for text in trained.answerer.answer_table(test)["translation"]]
    return {
        "validation": run.metrics()["validation"],
        "test": {**run.metrics()["test"], "bleu_moses": bleu_moses(own, test["target"].tolist())},
        "parameters": trained.model.count_params(),
        "epochs": len(history),
        "training_seconds": history["seconds"].iloc[-1],
        "data": run.data()["fingerprint"],
    }


def bleu_moses(own: list[str], right: list[str]) -> float:
    """Compute BLEU as published figures are: lower case, normalised punctuation, tokens of Moses."""
    from sacrebleu.metrics import BLEU
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer, tokenizer = MosesPunctNormalizer("de"), MosesTokenizer("de")

    def tokens(text: str) -> str:
        return tokenizer.tokenize(normalizer.normalize(text.lower()), return_str=True, escape=False)

    return BLEU(tokenize="none", force=True).corpus_score(list(map(tokens, own)), [list(map(tokens, right))]).score


def table(lines: list[dict]) -> str:
    """Write the results, best seed or not, one a line."""
    rows = [
        f"| {', '.join([line['name'], *line['given']])} | {line['seed']} | {line['parameters']:,} | {line['epochs']} |"
        f" {line['training_seconds']:,.0f} | "
        + " | ".join(
            "" if name in CASED and "lower-cased" in line["name"] else f"{line['test'][name]:.4g}" for name in METRICS
        )
        + " |"
        for line in lines
    ]
    return "\n".join(
        [
            "# Multi30k, English to German, test 2016",
            "",
            "Beam search with 5 beams. `bleu_moses` is what published figures are: lower case, tokens of Moses;"
            " `bleu_lower` is sacrebleu's of lower-cased text, `bleu` and `chrf` sacrebleu's of cased text,"
            " detokenised.",
            "",
            "| model | seed | parameters | epochs | seconds | " + " | ".join(METRICS) + " |",
            "|---" * (5 + len(METRICS)) + "|",
            *rows,
            "| Transformer-Tiny (Wu et al. 2021), published | | | | | 41.02 | | | | | |",
            "",
            "The test split holds 1,000 sentences: drawn anew, BLEU lies within 1.6 points in 95 of 100 draws"
            " (sacrebleu's bootstrap, 1,000 draws). On validation, `bleu_lower` of the first row is 41.6; of those"
            " of whole tokens in mini-batches of 1,024 it is 40.5, 41.1 and, of lower-cased text, 41.0, in the"
            " table's order. Validation prefers, by 0.5, that tokens are split in training (`split_tokens`),"
            " with dropout 0.2 and 50 epochs; with one seed each, what splitting alone brings is not known."
            " Validation prefers a length penalty of 2.0 (two rows of whole tokens, best by perplexity and by BLEU:"
            " 40.8 and 41.3), with which they score 38.7 and 39.7 on test, whose references are shorter: the 1.0"
            " that was set before was kept. With layer normalisation after each sum (`norm: post`, as published),"
            " greedy BLEU of lower-cased validation text was 32.2 after nine epochs, beside 35.9 with it before:"
            " that run was stopped there.",
            *how(
                "python benchmarks/translation.py --root FOLDER",
                ("tensorflow", "keras", "sentencepiece", "sacrebleu", "sacremoses"),
                "Data: Multi30k task 1 (Elliott et al. 2016), its own splits; choices by validation; each row's test"
                " scored once, that of two also with a length penalty of 2.0 (`decoding` of the run's config)",
            ),
        ]
    )


if __name__ == "__main__":
    main()

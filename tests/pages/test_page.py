"""The page of a run, and what every page promises."""

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import invoke
from html_pages import page_text, read_page
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation import wrong_answers
from pipelines.pages.details import split_details
from pipelines.pages.page import Code, Inner, Lines, Page, Picture, Section, Step, Steps, Table, Text, render
from pipelines.pages.run_page import write_run_page
from pipelines.runs.run import Run
from pipelines.tasks import load_task

HOSTILE = "</pre></table><script>alert(1)</script><img src=x onerror=alert(1)>\x00\x1b[31m &amp; \"'>"


def everything(text: str) -> Page:
    """Every kind of part, with the same text in it."""
    parts = [
        Text(text, strong=True),
        Text(text),
        Lines([text]),
        Steps([Step(text, text, [text])]),
        Table([text, text], [[text, "1"]]),
        Picture(text, b"\x89PNG"),
        Code(text),
        Code(text, text),
        Inner(text, text),
    ]
    return Page(text, [text], [Section(text, parts), Section("left out", [])])


@given(st.one_of(st.just(HOSTILE), st.text()))
def test_any_text_is_shown_and_nothing_of_it_is_markup(text):
    html = render(everything(text))
    plain = page_text(html)
    assert "<script" not in html and "onerror=alert(1)>" not in html and "left out" not in html
    assert not any(sign in html for sign in "\x00\x1b\ufffe\ufdd0")
    if text.isprintable() and text.strip():
        assert plain.count(text) >= 10


def test_columns_of_numbers_stand_to_the_right():
    table = Table(["a", "b"], [["1,234 [1, 2]", "x"], ["-0.5", "2"], ["", "3"], ["0.1 ± 0.2 *", "4"]])
    assert table.numeric == [True, False]


@pytest.fixture(scope="module")
def own_run(finished_run, tmp_path_factory):
    """A copy of a finished run that is not diagnosed, to write to."""
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("runs") / "run")
    shutil.rmtree(folder / "diagnosis", ignore_errors=True)
    write_run_page(Run(folder))
    return folder


def test_the_page_of_a_run_says_what_to_do_how_good_it_is_and_how_to_repeat_it(own_run):
    text = read_page(own_run / "report" / "index.html")
    run = Run(own_run)
    order = ["What to do next", "Metrics", "Pictures", "Worst examples", "Data", "Config", "Repeat it"]
    sections = text[text.index("4 epochs") :]  # after the links to them
    sections = sections[sections.index("Repeat it") + 1 :]
    assert sorted(order, key=sections.index) == order
    assert "is not diagnosed yet" in text and "pipelines diagnose" in text
    assert "rmsle" in text and "95% interval" in text and "learning_curves" not in text
    assert "pipelines train" in text and "keras" in text and "batch_normalization" in text
    assert all(split in text for split in run.metrics())


def test_a_diagnosis_comes_first_on_the_page(own_run):
    assert invoke("diagnose", own_run).exit_code == 0
    text = read_page(own_run / "report" / "index.html")
    found = Run(own_run).read_diagnosis()
    assert found["verdict"] in text and "is not diagnosed" not in text
    assert all(step["reason"] in text for step in found["next"])
    assert all(f"--set {each}" in text for step in found["next"] for each in step["set"])


def test_evaluate_writes_the_page_again_with_intervals_of_that_split(own_run):
    page = own_run / "report" / "index.html"
    page.unlink()
    assert invoke("evaluate", own_run, "--split", "validation").exit_code == 0
    details = Run(own_run).details()
    assert set(details) == {"test", "validation"}
    interval = details["validation"]["intervals"]["rmsle"]
    assert interval["low"] < Run(own_run).metrics()["validation"]["rmsle"] < interval["high"]
    assert read_page(page).count("[") > 2 * len(details["test"]["intervals"])
    page.unlink()
    assert invoke("evaluate", own_run, "--threshold", "0.5").exit_code == 1 and not page.exists()


def test_the_worst_examples_are_those_with_the_largest_errors(own_run):
    predictions = pd.read_csv(own_run / "predictions.csv")
    errors = (np.log1p(predictions["answer"].clip(lower=0)) - np.log1p(predictions["target"])).abs()
    worst = Run(own_run).details()["test"]["worst"]
    assert worst["by"] == "rmsle"
    rows = [each["row"] for each in worst["rows"]]
    assert rows == predictions["row"][errors.sort_values(ascending=False).index][: len(rows)].tolist()
    assert len(rows) == 10 and "Area__m2_" in worst["rows"][0]["input"]


def test_a_sentence_without_entities_that_is_tagged_right_is_not_among_the_worst():
    """Its F1 is 0, since there is nothing to find."""
    task = load_task("entity_tagger")
    examples = pd.DataFrame({"tokens": [["a", "b"], ["c", "d"]], "tags": [["O", "O"], ["B-PER", "O"]]})
    answers = {"tags": np.array([[b"O", b"O"], [b"O", b"O"]], object)}
    worst = split_details(task, "validation.f1", pd.concat([examples] * 2), _twice(answers))["worst"]
    assert not worst or {each["row"] for each in worst["rows"]} <= {2, 4}


def test_only_shares_of_right_answers_have_wrong_ones():
    def ratio(sums):
        return sums[..., 0] / sums[..., 1]

    assert wrong_answers((np.array([[1.0, 1], [0, 1], [0, 1]]), ratio)) == 2
    assert wrong_answers((np.array([[1.0, 2], [0, 1]]), ratio)) is None
    assert wrong_answers(None) is None


def _twice(answers):
    return {name: np.concatenate([values, values]) for name, values in answers.items()}

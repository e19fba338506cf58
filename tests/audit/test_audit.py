"""Planted faults are found, and clean data has none."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from planted import RULE, dataset, houses, marked, pictures, pixels, png, sentences, texts

from pipelines.audit.audit import audit_data
from pipelines.tasks import load_task


def audited(task: str, table, rule=RULE, **more):
    return audit_data(dataset(task, table, rule), load_task(task).fields, 0, **more)


def found(audit, *kinds: str) -> list:
    return [each for each in audit.findings if each.kind in kinds]


def marks(findings) -> set[str]:
    return {place.file for each in findings for place in (each.place, each.other) if place is not None}


def assert_found(planted: set[str], reported: set[str]) -> None:
    right = len(planted & reported)
    assert right >= 0.9 * len(planted), f"{len(planted) - right} of {len(planted)} were not found"
    assert right >= 0.9 * len(reported), f"{len(reported) - right} of {len(reported)} are no faults"


def copies_of(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(mark=[f"copy of {mark}" for mark in rows["mark"]])


CLEAN = {
    "house_prices": houses(1500),
    "entity_tagger": sentences(800),
    "cat_classifier": pictures(600),
    "translator": pd.DataFrame({"source": texts(800, 9), "target": texts(800, 9, seed=1)}),
    "language_model": pd.DataFrame({"text": texts(200, 60), "document": 0}),
}


@pytest.mark.parametrize("task", CLEAN)
def test_clean_data_raises_no_alarm(task):
    audit = audited(task, CLEAN[task])
    assert audit.findings == [] and audit.notes == []


@pytest.mark.parametrize("task", ["house_prices", "entity_tagger", "cat_classifier"])
def test_exact_copies_are_found_within_and_across_splits(task):
    some = CLEAN[task].sample(60, random_state=1)
    audit = audited(task, pd.concat([CLEAN[task], copies_of(some)]))
    assert_found({*some["mark"], *copies_of(some)["mark"]}, marks(found(audit, "duplicate", "duplicate_across_splits")))
    across = found(audit, "duplicate_across_splits")
    assert across and all(each.place.split != each.other.split for each in across)
    order = ("test", "validation", "train")
    assert all(order.index(each.place.split) > order.index(each.other.split) for each in across)
    assert {each.kind for each in audit.findings} == {"duplicate", "duplicate_across_splits"}


def blurred(image: bytes) -> bytes:
    smaller = Image.open(io.BytesIO(image)).resize((40, 40))
    return png(np.asarray(smaller), "JPEG", quality=60)


ALMOST = {
    "house_prices": lambda rows: rows.assign(area=rows["area"] + 0.05),
    "entity_tagger": lambda rows: rows.assign(tokens=[[each[0].upper(), *each[1:]] for each in rows["tokens"]]),
    "cat_classifier": lambda rows: rows.assign(image=rows["image"].map(blurred)),
}


@pytest.mark.parametrize("task", ALMOST)
def test_almost_equal_examples_are_found(task):
    some = CLEAN[task].sample(60, random_state=1)
    almost = copies_of(ALMOST[task](some))
    audit = audited(task, pd.concat([CLEAN[task], almost]))
    near = found(audit, "near_duplicate", "near_duplicate_across_splits")
    assert_found({*some["mark"], *almost["mark"]}, marks(near))


def test_texts_with_a_changed_word_are_near_and_texts_with_another_number_are_not():
    source = [f"{text} 12" for text in texts(400, 12)]
    typos = [f"{text[:20]}x{text[21:]}" for text in source[:40]]
    others = [text.replace(" 12", " 13") for text in source[40:80]]
    table = marked(pd.DataFrame({"source": source + typos + others}).assign(target=texts(480, 9, seed=1)))
    audit = audited("translator", table)
    near = found(audit, "near_duplicate", "near_duplicate_across_splits")
    assert_found({f"r{n}" for n in (*range(40), *range(400, 440))}, marks(near))


def test_a_source_in_two_splits_with_another_translation_is_a_duplicate_across_splits():
    table = marked(CLEAN["translator"])
    again = copies_of(table.head(30)).assign(target=texts(30, 9, seed=2))
    audit = audited(
        "translator",
        {"train": table, "validation": table.head(0), "test": again}
        | {"validation": again.tail(15), "test": again.head(15)},
    )
    assert_found(set(again["mark"]), {each.other.file for each in found(audit, "duplicate_across_splits")})


def test_a_passage_that_occurs_twice_is_found():
    text = CLEAN["language_model"].copy()
    passage = text["text"][3][:260]
    text.loc[150, "text"] = f"{text['text'][150][:50]} {passage} {text['text'][150][50:]}"
    audit = audited("language_model", marked(text), {**RULE, "shuffle": False})
    (only,) = audit.findings
    assert only.kind == "near_duplicate_across_splits" and marks([only]) == {"r3", "r150"}


def test_equal_inputs_with_other_targets_conflict():
    some = CLEAN["cat_classifier"].sample(40, random_state=2)
    other = copies_of(some).assign(label=some["label"].map({"left": "right", "right": "left"}))
    audit = audited("cat_classifier", pd.concat([CLEAN["cat_classifier"], other]))
    assert_found({*some["mark"], *other["mark"]}, marks(found(audit, "conflicting_labels")))


def test_flipped_classes_are_found():
    table = CLEAN["cat_classifier"].copy()
    flipped = table.sample(frac=0.05, random_state=3).index
    table.loc[flipped, "label"] = table.loc[flipped, "label"].map({"left": "right", "right": "left"})
    errors = found(audited("cat_classifier", table), "label_error")
    assert_found({f"r{n}" for n in flipped}, marks(errors))
    assert "probably" in errors[0].about


def test_flipped_tags_are_found():
    table = CLEAN["entity_tagger"].copy()
    random = np.random.default_rng(4)
    flipped = set()
    for row, tags in enumerate(table["tags"]):
        for at, tag in enumerate(tags):
            if tag != "O" and random.random() < 0.05:
                tags = [*tags[:at], {"B-PER": "B-LOC", "B-LOC": "O", "B-ORG": "B-PER"}[tag], *tags[at + 1 :]]
                flipped.add(f"r{row}")
        table.at[row, "tags"] = tags
    assert_found(flipped, marks(found(audited("entity_tagger", table), "label_error")))


def test_wrong_numbers_are_found():
    table = CLEAN["house_prices"].copy()
    wrong = table.sample(frac=0.05, random_state=3).index
    table.loc[wrong, "price"] *= 3
    assert_found({f"r{n}" for n in wrong}, marks(found(audited("house_prices", table), "label_error")))


def test_a_leaked_a_constant_an_id_and_a_shifted_column_are_found_and_no_other():
    table = CLEAN["house_prices"]
    random = np.random.default_rng(5)
    late = np.arange(len(table)) >= 0.8 * len(table)
    table = table.assign(
        fee=(table["price"] * 0.03 + random.normal(0, 30, len(table))).round(2),
        state="Iowa",
        code=[f"N-{n}" for n in random.permutation(len(table))],
        number=np.arange(len(table), dtype=float),
        heat=random.normal(0, 1, len(table)) + 0.8 * late,
    )
    audit = audited("house_prices", table, {**RULE, "shuffle": False})
    columns = {(each.kind, each.column) for each in audit.findings if each.kind != "shifted_split"}
    assert columns == {
        ("leaking_column", "fee"), ("constant_column", "state"), ("id_column", "code"), ("id_column", "number"),
        ("shifted_column", "heat"), ("shifted_column", "number"),
    }  # fmt: skip
    about = {each.about for each in found(audit, "shifted_column") if each.column == "heat"}
    assert len(about) == 1 and "in test" in about.pop()


def test_a_size_that_gives_the_class_away_is_a_leak():
    table = CLEAN["cat_classifier"]
    side = table["label"].map({"left": 48, "right": 50})
    table = table.assign(
        image=[
            png(np.asarray(Image.fromarray(pixels(i)).resize((s, 48))))
            for i, s in zip(table["image"], side, strict=True)
        ]
    )
    assert [each.column for each in found(audited("cat_classifier", table), "leaking_column")] == ["width"]


def test_a_split_of_other_texts_is_told_apart():
    table = CLEAN["entity_tagger"].copy()
    late = table.index >= 640
    table.loc[late, "tokens"] = table.loc[late, "tokens"].map(lambda tokens: ["RT", *tokens])
    table.loc[late, "tags"] = table.loc[late, "tags"].map(lambda tags: ["O", *tags])
    audit = audited("entity_tagger", table, {**RULE, "shuffle": False})
    assert "rt" in [each.column for each in found(audit, "shifted_column")]
    assert [each.column for each in found(audit, "shifted_split")] == ["test"]


@pytest.mark.slow
def test_train_is_compared_with_new_data():
    new = houses(300, seed=7).assign(area=lambda table: table["area"] * 1.5).drop(columns=["mark", "price"])
    audit = audited("house_prices", CLEAN["house_prices"], new=new)
    assert [each.column for each in found(audit, "shifted_column")] == ["area"]
    assert found(audit, "shifted_split")[0].column == "the new data"
    same = audited("house_prices", CLEAN["house_prices"], new=houses(300, seed=7).drop(columns=["mark", "price"]))
    assert same.findings == []


@pytest.mark.slow
def test_rows_of_a_group_in_several_splits_are_found():
    random = np.random.default_rng(6)
    owner = random.integers(0, 400, 1500)
    level = random.normal(0, 150000, 400)[owner]
    table = CLEAN["house_prices"].assign(owner=[f"owner {n}" for n in owner])
    assert found(audited("house_prices", table), "group_across_splits") == []
    (only,) = found(audited("house_prices", table.assign(price=table["price"] + level)), "group_across_splits")
    assert (
        only.column == "owner" and "mean error of simple models" in only.about and "underestimates it by" in only.about
    )


def documents(groups: int = 40, each: int = 12) -> pd.DataFrame:
    """Sentences of documents: each has words and names of its own, and only the document says what a name is."""
    random = np.random.default_rng(7)
    words = np.array(["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(groups * 20)])
    rows = []
    for number in range(groups):
        own, kind = words[20 * number : 20 * number + 20], random.choice(["PER", "LOC", "ORG"])
        for _ in range(each):
            tokens = list(random.choice(own, 8))
            tokens[3] = tokens[3].capitalize()
            rows.append((tokens, ["O"] * 3 + [f"B-{kind}"] + ["O"] * 4, f"text {number}"))
    return marked(pd.DataFrame(rows, columns=["tokens", "tags", "document"]))


def test_documents_in_several_splits_are_found_with_the_overestimate_of_a_random_split():
    table = documents()
    (only,) = found(audited("entity_tagger", table), "group_across_splits")
    random, own, more = (float(part) for part in re.findall(r"\d\.\d\d", only.about))
    assert only.column == "document" and only.score > 0.9 and only.remedy.startswith("set split.group: document")
    assert random - own > 0.2 and more == pytest.approx(random - own, abs=0.011)
    mixed = table.assign(document=table["document"].sample(frac=1, random_state=0).to_numpy())
    assert found(audited("entity_tagger", mixed), "group_across_splits") == []
    assert found(audited("entity_tagger", table, {**RULE, "group": "document"}), "group_across_splits") == []


def test_pictures_of_a_patient_in_several_splits_are_found_and_folders_of_a_class_are_not():
    random = np.random.default_rng(8)
    rows = []
    for number in range(30):
        base = random.integers(40, 200, (6, 6, 3))
        for _ in range(8):
            noisy = np.clip(base + random.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            image = np.asarray(Image.fromarray(noisy).resize((48, 48), Image.BICUBIC))
            rows.append((png(image), ("ill", "well")[number % 2], f"patient {number}", f"folder {number % 2}"))
    table = marked(pd.DataFrame(rows, columns=["image", "label", "patient", "folder"]))
    (only,) = found(audited("cat_classifier", table), "group_across_splits")
    assert only.column == "patient" and "the random split overestimates it by 0." in only.about


@pytest.mark.slow
def test_a_random_split_of_a_target_that_changes_with_time_is_found():
    sold = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(1500), unit="D")
    table = CLEAN["house_prices"].assign(sold=sold)
    assert found(audited("house_prices", table), "time_order") == []
    rising = table.assign(price=table["price"] + 300.0 * np.arange(1500))
    (only,) = found(audited("house_prices", rising), "time_order")
    assert only.column == "sold" and "by 'sold': the random split underestimates it by" in only.about
    assert found(audited("house_prices", rising, {**RULE, "shuffle": False}), "time_order") == []

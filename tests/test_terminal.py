"""What a table shows is the data, whatever a library would read in it."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines.terminal import print_answers, shortened, table, visible
from pipelines.tuning.display import Display

MARKUP = [
    "[red]",
    "[/new]",
    "[link=https://a.b]c[/link]",
    ":smile:",
    "[bold",
    "\\[x]",
    "[]",
    "[@click=x]y",
    "[#ff0000]",
]


def shown(renderable):
    file = io.StringIO()
    Console(file=file, width=400, force_terminal=True, color_system=None).print(renderable)
    return file.getvalue()


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_data_is_shown_as_it_is(text):
    printed = shown(table([text, "answer"], [[f"a {text}", text]], title=f"of {text}"))
    assert printed.count(text) == 4


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=30))
def test_any_text_is_shown_as_it_is(text):
    assert text in shown(table(["head"], [[f"<{text}>"]]))


@pytest.mark.parametrize("sign", ["\x1b[31m", "\x07", "\r", "\x9b31m", "\udcff", "\u2028"])
def test_what_a_terminal_would_obey_is_shown_as_an_escape(sign):
    assert sign not in visible(f"a{sign}b") and visible(f"a{sign}b").startswith("a\\")
    assert sign not in shown(table(["head"], [[sign]]))


def test_a_long_text_is_cut_on_one_line():
    assert shortened("a\nb  c", 20) == "a b c"
    assert len(shortened("word " * 50, 20)) <= 20 and shortened("word " * 50, 20).endswith(" ...")


def test_a_search_shows_its_values_as_they_are():
    from types import SimpleNamespace

    trial = SimpleNamespace(number=1, values={"a": "[red]"}, reason="[/new] :smile:", seconds=1.0)
    search = SimpleNamespace(
        running=[],
        trials={1: trial},
        ended=[trial],
        ranked=[],
        objective="[x]",
        seconds_left=None,
        started={},
        taken_up=(),
        folder=SimpleNamespace(folder="search"),
    )
    assert all(text in shown(Display()._table(search)) for text in ("[red]", "[/new] :smile:", "[x]"))
    file = io.StringIO()
    Display(Console(file=file)).show(search)
    assert "a [red]" in file.getvalue() and "failed: [/new] :smile:" in file.getvalue()


ENTITIES = [
    {"type": "PER", "text": "Ann Lee", "start": 0, "stop": 7, "probability": 0.98},
    {"type": "LOC", "text": "Oslo", "start": 16, "stop": 20, "probability": 0.7},
]
TEXT = "Ann Lee flew to Oslo [red]x[/red]."


def test_entities_are_coloured_where_they_stand_in_their_text(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_answers([{"text": TEXT}], [{"tags": "PER: Ann Lee"}], [{"entities": ENTITIES}])
    shown = capsys.readouterr().out
    assert "\x1b[1;36mAnn Lee\x1b[0m flew to \x1b[1;35mOslo\x1b[0m [red]x[/red]." in shown
    assert "entities PER: Ann Lee (0.98); LOC: Oslo (0.70)" in shown


@pytest.mark.parametrize(
    ("share", "bar"), [(0.0, "0 "), (0.5, "0.5 █████ "), (0.55, "0.55 █████▌ "), (1.0, "1 ██████████ ")]
)
def test_a_probability_has_a_bar(share, bar, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    print_answers([{"image": b"12345"}], [{"label": "cat"}], [{"label": "cat", "probability": share}])
    assert f"probability {bar}" in capsys.readouterr().out


def test_on_a_narrow_terminal_target_and_answer_stand_below_the_example(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    print_answers([{"text": TEXT}], [{"price": 100.0}], [{"price": 123456.0}])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == [f"text {TEXT}", "  target  price 100", "  prediction  price 123,456"]

"""The notebooks run from top to bottom, still print the numbers that they have stored, and solve their exercises."""

import copy
import math
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
COURSE = [path for path in PATHS if path.stem[0].isdigit()]  # the others go from data to a server, one per task
SOLUTION = re.compile(r"<details>.*?</details>", re.DOTALL)
VARIES = "varies"  # tag of a cell whose outputs depend on the machine, such as times
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
RELATIVE, ABSOLUTE = 1e-2, 2e-3  # trained numbers differ a little between processors


def printed(notebook):
    """Return what each code cell prints or shows as text, pictures left out, by its place."""
    texts = {}
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and VARIES not in cell.metadata.get("tags", []):
            shown = [output.get("text", "") for output in cell.outputs if output.output_type == "stream"]
            shown += [output.data.get("text/plain", "") for output in cell.outputs if is_text(output)]
            texts[place] = "".join(shown)
    return texts


def is_text(output):
    return "text/plain" in output.get("data", {}) and "image/png" not in output.data


def differences(stored, new):
    """Return one line for each cell whose printed text differs, in its words or in its numbers beyond the tolerance."""
    found = []
    for place, text in printed(stored).items():
        other = printed(new)[place]
        numbers, others = ([float(n.replace(",", "")) for n in NUMBER.findall(each)] for each in (text, other))
        near = all(
            math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE) for a, b in zip(numbers, others, strict=False)
        )
        if NUMBER.sub("#", text) != NUMBER.sub("#", other) or not near:
            found.append(f"cell {place}: stored {text!r}, now {other!r}")
    return found


def with_solutions(notebook):
    """Return a copy that also runs the solutions of its exercises, at its end.

    Each sees the names as they were where the exercise stands, and changes none of them.
    """
    cells = [nbformat.v4.new_code_cell("solutions = []")]
    for cell in notebook.cells:
        cells.append(copy.deepcopy(cell))
        for block in re.findall(r"```python\n(.*?)```", "".join(SOLUTION.findall(cell.source)), re.DOTALL):
            cells.append(nbformat.v4.new_code_cell(f"solutions.append(({block!r}, dict(globals())))"))
    run = "for solution, names in solutions:\n    exec(solution, names)"
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(run)], metadata=notebook.metadata)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_prints_the_stored_numbers_and_solves_its_exercises(path):
    stored = nbformat.read(path, as_version=4)
    new = with_solutions(stored)
    where = {"metadata": {"path": str(NOTEBOOKS.parent)}}
    NotebookClient(new, timeout=600, coalesce_streams=True, resources=where).execute()
    ids = {cell.id for cell in stored.cells}
    new.cells = [cell for cell in new.cells if cell.id in ids]
    assert not differences(stored, new)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in PATHS])
def test_is_stored_whole(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run `make notebooks`"
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert path.stat().st_size < 650_000, "pictures are too large for a repository"
    for part in ("**What it teaches.**", "**How long it takes.**", "**Sections of the notes that it covers.**"):
        assert part in notebook.cells[0].source


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in COURSE])
def test_has_exercises_whose_solutions_are_hidden(path):
    cells = nbformat.read(path, as_version=4).cells
    teaching = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert teaching.count("<details>") == teaching.count("</details>") == len(SOLUTION.findall(teaching)) >= 2
    assert teaching.count("<details><summary>Solution") >= 2


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in PATHS])
def test_is_in_the_table_of_the_notes(path):
    assert f"({path.name})" in (NOTEBOOKS / "README.md").read_text(encoding="utf-8")


def test_the_sections_of_the_table_are_there():
    rows = re.findall(r"^\| .+? \| \[\d\d\]\((.+?)\) \| (.+) \|$", (NOTEBOOKS / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 25
    for name, sections in rows:
        headings = re.findall(r"^## (\d+\. .+?)\??$", sources(NOTEBOOKS / name), re.MULTILINE)
        named = re.findall(r"(\d+\. [^?]+)\?", sections.partition(" [")[0])
        assert named and set(named) <= set(headings), (name, named)


def sources(path):
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def one_cell(text, *tags):
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("", outputs=[output], metadata={"tags": list(tags)})]
    )


@pytest.mark.parametrize("now", ["cost 1.005, 1,240 houses\n", "cost 0.995, 1,234 houses\n"])
def test_near_numbers_are_equal(now):
    assert not differences(one_cell("cost 1.000, 1,234 houses\n"), one_cell(now))


@pytest.mark.parametrize("now", ["cost 1.02\n", "cost -1.00\n", "loss 1.00\n", "cost 1.00 2.00\n", ""])
def test_other_numbers_and_words_are_found(now):
    assert len(differences(one_cell("cost 1.00\n"), one_cell(now))) == 1


def test_what_varies_is_left_out():
    assert not differences(one_cell("12 ms\n", VARIES), one_cell("34 ms\n", VARIES))

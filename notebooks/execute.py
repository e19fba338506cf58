"""Execute all notebooks, or those given, from top to bottom, and store their outputs."""

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
COLOURS = 255  # of a stored picture: plots look the same, and take a third of the space


def execute(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with new outputs, without times of execution: they would change it each time."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(FOLDER.parent)}}
    NotebookClient(notebook, timeout=900, record_timing=False, coalesce_streams=True, resources=where).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
    return notebook


def _smaller(png: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    stored = io.BytesIO()
    picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode()


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))):
        print(each)
        nbformat.write(execute(each), each)

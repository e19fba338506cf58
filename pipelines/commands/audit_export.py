"""The `audit` command for an export: compare new inputs with the sketch of its training data."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.audit.audit import Audit
from pipelines.audit.findings import as_table, counts, kinds_named
from pipelines.audit.sketch import Sketch
from pipelines.commands.audit import Audited, audit_folder
from pipelines.errors import UserError
from pipelines.export.load import newest_version
from pipelines.logged_requests import is_request_log
from pipelines.pages.audit_page import write_audit_page
from pipelines.predictor import load_predictor
from pipelines.storage import write_json, write_whole

NEW = "the new data"


def audit_export(
    export: str | Path, against: str | Path, fail_on: Iterable[str] = (), audit_dir: str | Path | None = None
) -> Audited:
    """Compare the inputs in a file, folder or log of requests with the training data of an export.

    The findings are written to a folder. The export's sketch stands for its training data, which is not needed.

    Raises:
        UserError: If the export has no sketch, the new inputs cannot be read, or a kind is unknown.
    """
    wanted = kinds_named(fail_on)
    version = newest_version(Path(export))
    if not version.sketch.is_file():
        raise UserError(str(version.folder), "has no sketch of its training data; export the run again, with its data")
    sketch = Sketch.read(json.loads(version.sketch.read_text(encoding="utf-8")))
    if not Path(against).exists():
        raise UserError(str(against), "no such file or folder")
    predictor = load_predictor(version.folder)
    is_images = Path(against).is_dir() and not is_request_log(Path(against))
    given: tuple[list[str], str | None] = ([str(against)], None) if is_images else ([], str(against))
    new = predictor.read(*given, allow_missing=True).reset_index(drop=True)
    found = Audit(sketch.findings(new, NEW), [], {})
    task = json.loads(version.about.read_text())["task"]
    folder = audit_folder(task, audit_dir)
    write_whole(folder / "findings.csv", partial(as_table(found.findings).to_csv, index=False))
    record: dict[str, Any] = {
        "export": str(version.folder),
        "task": task,
        "against": str(against),
        "examples": {"train, sketched": sketch.examples, NEW: len(new)},
        "fingerprint": {},
        "counts": counts(found.findings),
        "notes": found.notes,
        "seconds": found.seconds,
        "findings": [each.record() for each in found.findings],
    }
    write_json(folder / "audit.json", record)
    again = [str(export), "--against", str(against)]
    write_audit_page(folder / "report" / "index.html", record, found.findings, None, None, None, again)
    failing = {kind: count for kind, count in record["counts"].items() if kind in wanted}
    return Audited(folder, record, found, None, failing)

"""What is drawn, beyond what each task draws."""

import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import report
from pipelines.runs.run import Run
from pipelines.text.attention_maps import draw_attention

pytestmark = pytest.mark.figures


def test_signs_that_the_usual_font_lacks_are_drawn_in_another(finished_run, tmp_path, monkeypatch):
    run = Run(shutil.copytree(finished_run, tmp_path / "run"))
    monitor = {"monitor": "validation.rmsle"}

    def pictures(*_):
        return {"map": draw_attention([np.ones((1, 1, 1))], ["\u2336"], ["a"])}  # a sign of APL

    trained = SimpleNamespace(
        config=SimpleNamespace(training=monitor, seed=0),
        task=SimpleNamespace(
            curves=(), pictures=pictures, validation_pictures=lambda *_: {}, metrics_by_class=lambda *_: []
        ),
        answerer=SimpleNamespace(answer_table=None),
        model=None,
        preprocessor=None,
    )
    monkeypatch.setattr(report, "MORE_FONTS", ("STIXGeneral", "a font that no machine has"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report.write_report(run, trained, None, None, None)
    assert (run.report / "map.png").exists()

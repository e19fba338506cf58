"""The campaign of hostile requests, in short."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving.servers import ROOT

pytest.importorskip("gradio")
PROTOCOLS = ("REST", "OIP HTTP", "OIP gRPC", "TF Serving gRPC", "OpenAI", "playground")


@pytest.fixture
def exports(toy_exports, tmp_path) -> Path:
    """A model for each protocol."""
    for name in ("adder", "words", "pictures", "writer", "mirror", "judge"):
        shutil.copytree(toy_exports / name, tmp_path / "exports" / name)
    return tmp_path / "exports"


def campaign(exports: Path, *options: object) -> str:
    """Run the script, and give its page."""
    command = [sys.executable, ROOT / "benchmarks" / "server_campaign.py", "--exports", exports]
    command += ["--results", exports.parent, "--live-seconds", 60, *options]
    done = subprocess.run(
        [*map(str, command)], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (page,) = exports.parent.glob("server_*.md")
    return page.read_text()


def test_hostile_requests_do_no_harm(exports):
    page = campaign(exports, "--requests", 120, "--seed", 1)
    assert "No fault: no 5xx but 503, all clean requests answered rightly." in page
    for protocol in PROTOCOLS:
        assert f"\n| {protocol} |" in page.partition("| protocol |")[2]
        assert f"\n| {protocol} |" in page.partition("| clean requests |")[2]


@pytest.mark.slow
def test_reloads_for_long_fail_no_request(exports):
    page = campaign(exports, "--soak", 0.3, "--reload-seconds", 1)
    assert "No fault" in page and "0.3 minutes with 18 new versions" in page

"""One server with a table model, a tagger and toys, which most tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import made_once
from serving import toys
from serving.servers import Server


@pytest.fixture(scope="session")
def toy_exports(tmp_path_factory) -> Path:
    """A folder with an export of each toy."""

    def write(folder: Path) -> None:
        toys.write_adder(folder / "adder", 1)
        toys.write_words(folder / "words")
        toys.write_pictures(folder / "pictures")
        toys.write_speller(folder / "speller")
        toys.write_judge(folder / "judge")
        toys.write_writer(folder / "writer")
        toys.write_writer(folder / "plain", chat=False)
        toys.write_mirror(folder / "mirror")

    return made_once(tmp_path_factory, "toys", write)


@pytest.fixture(scope="session")
def server(tmp_path_factory, finished_export, exported_tagger, toy_exports) -> Iterator[Server]:
    """A server of all of them."""
    folders = [finished_export, exported_tagger, *sorted(toy_exports.glob("[a-z]*"))]
    running = Server(tmp_path_factory.mktemp("server") / "log.jsonl", *folders, "--poll-seconds", "60")
    yield running
    assert running.stop() == 0, running.log.read_text()[-3000:]


@pytest.fixture(scope="session")
def toys_server(tmp_path_factory, toy_exports) -> Iterator[Server]:
    """A server of the toys alone, which starts in seconds."""
    folders = sorted(toy_exports.glob("[a-z]*"))
    running = Server(tmp_path_factory.mktemp("toys_server") / "log.jsonl", *folders, "--poll-seconds", "60")
    yield running
    assert running.stop() == 0, running.log.read_text()[-3000:]


@pytest.fixture
def started(tmp_path) -> Iterator:
    """Start servers that end with the test."""
    servers = []

    def start(*arguments, **options) -> Server:
        servers.append(Server(tmp_path / f"{len(servers)}.jsonl", *arguments, **options))
        return servers[-1]

    yield start
    for running in servers:
        running.stop()

"""The log of requests, and what reads it again."""

import asyncio
import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import houses, invoke
from serving import toys
from serving.servers import Server, until

import pipelines
from pipelines.logged_requests import FILES, is_request_log, make_folder
from pipelines.serving.exchange import Exchange
from pipelines.serving.gauges import Gauges
from pipelines.serving.models.batching import Sizes
from pipelines.serving.models.versions import Version
from pipelines.serving.request_log import PARTS, Files, RequestLog
from pipelines.serving.settings import LogSettings, ModelSettings, Settings

TOKEN = "6f1c0b2a9d"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory, finished_export, exported_tagger, toy_exports):
    """The folder of the log of a server with two tasks and a toy, after some requests, and its metrics."""
    folder = tmp_path_factory.mktemp("logged")
    config = folder / "serve.yaml"
    log = f"{{folder: {folder}/requests, share: 1.0, max_mb: 10, signatures: [serving_default, sums]}}"
    models = {"houses": finished_export, "tagger": exported_tagger, "words": toy_exports / "words"}
    lines = [f"  {name}: {{folder: {path}}}" for name, path in models.items()]
    quiet = f"  adder: {{folder: {toy_exports}/adder, request_log: {log.replace('1.0', '0.000001')}}}"
    config.write_text("\n".join([f"request_log: {log}", "models:", *lines, quiet]))
    server = Server(folder / "server.jsonl", "--config", config, PIPELINES_TOKEN=TOKEN)
    try:
        ask_all(server)
        written = 'pipelines_logged_requests_total{model="words",result="written"} 2.0'
        until(lambda: written in server.get("/metrics", headers=HEADERS).text)
        metrics = server.get("/metrics", headers=HEADERS).text
    finally:
        assert server.stop() == 0
    return folder, metrics


def ask_all(server: Server) -> None:
    rows = [row | {"age": row["age"] or None} for row in house_rows().to_dict("records")]
    for start in (0, 30):
        send(server, "houses", {"instances": rows[start : start + 30]})
    send(server, "tagger", {"instances": ["Ann Lee flew to Oslo.", 'Two lines:\n"quoted", in Paris']})
    send(server, "words", {"instances": [{"b64": "/w=="}]})
    send(server, "words", {"instances": [[1, 2], [3]], "signature_name": "sums"})
    send(server, "words", {"instances": [[1, 2]], "signature_name": "echo"})
    for _ in range(20):
        send(server, "adder", {"instances": [1]})


def house_rows() -> pd.DataFrame:
    return houses(60, seed=3).drop(columns="price").rename(columns={"Area (m2)": "Area__m2_"})


def send(server: Server, model: str, body: dict) -> None:
    answer = server.post(f"/v1/models/{model}:predict", body, headers={**HEADERS, "X-Request-ID": "request-7"})
    assert answer.status_code == 200, answer.text


def lines(folder: Path, model: str) -> list[dict]:
    files = sorted((folder / "requests" / model).glob(FILES))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_each_row_is_a_line_with_its_inputs_and_answers(logged):
    folder, metrics = logged
    found = lines(folder, "houses")
    assert len(found) == 60
    first = house_rows().iloc[0]
    assert found[0]["inputs"] == {"Area__m2_": first["Area__m2_"], "age": first["age"], "district": first["district"]}
    assert found[0]["answers"]["price"] > 0 and found[0]["request_id"] == "request-7"
    assert (found[0]["model"], found[0]["version"], found[0]["signature"]) == ("houses", 1, "serving_default")
    assert pd.Timestamp(found[0]["time"]).tz is not None
    assert any(line["inputs"]["age"] is None for line in found), "a missing number"
    assert [line["inputs"]["text"] for line in lines(folder, "tagger")][1] == 'Two lines:\n"quoted", in Paris'
    words = lines(folder, "words")
    assert [line["signature"] for line in words] == ["serving_default", "sums", "sums"]
    assert words[0]["inputs"] == {"text": {"b64": "/w=="}} and words[2]["inputs"] == {"numbers": [3.0, 0.0]}
    assert [line["answers"]["sum"] for line in words[1:]] == [3.0, 3.0]
    assert lines(folder, "adder") == []
    assert 'pipelines_logged_requests_total{model="houses",result="written"} 2.0' in metrics


def test_only_the_user_of_the_server_can_read_it_and_it_has_no_token(logged):
    folder, _ = logged
    files = [*(folder / "requests").rglob(FILES)]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((folder / "requests" / "houses").stat().st_mode) == 0o700
    assert not any(TOKEN in file.read_text() for file in files) and TOKEN not in (folder / "server.jsonl").read_text()


def test_predict_answers_the_logged_requests_again(logged, finished_export, exported_tagger, tmp_path):
    folder, _ = logged
    for model, export, key in (("houses", finished_export, "price"), ("tagger", exported_tagger, "entities")):
        given = folder / "requests" / model
        (file,) = given.glob(FILES)
        for path in (given, file):
            output = tmp_path / f"{path.stem}.json"
            result = invoke("predict", export, "--file", path, "--output", output)
            assert result.exit_code == 0, result.output
            records = json.loads(output.read_text())
            assert [record["input"] for record in records] == [f"{file}:{n}" for n in range(1, len(records) + 1)]
            for record, line in zip(records, lines(folder, model), strict=True):
                if key == "price":
                    assert record[key] == pytest.approx(line["answers"][key], rel=1e-4)
                else:
                    types = [type for type in line["answers"]["type"] if type]
                    assert [entity["type"] for entity in record[key]] == types


def test_audit_compares_the_logged_requests_with_the_training_data(logged, finished_export, exported_tagger, tmp_path):
    folder, _ = logged
    for model, export, count in (("houses", finished_export, 60), ("tagger", exported_tagger, 2)):
        to = tmp_path / model
        result = invoke("audit", export, "--against", folder / "requests" / model, "--audit-dir", to)
        assert result.exit_code == 0, result.output
        assert json.loads((to / "audit.json").read_text())["examples"]["the new data"] == count
    shifted = tmp_path / "requests-1.jsonl"
    found = lines(folder, "houses")
    for line in found:
        line["inputs"]["Area__m2_"] += 300
    shifted.write_text("".join(json.dumps(line) + "\n" for line in found))
    result = invoke("audit", finished_export, "--against", shifted, "--audit-dir", tmp_path / "shifted")
    assert "Area__m2_" in result.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"time": 1}\n', "unknown column 'time'"),  # a table of its own, not a log
        ("GOOD\nno JSON\n", ":2: is not a line of a log of requests"),
        ('GOOD\n{"inputs": {"image": {"b64": "/w=="}}, "signature": "serving_default"}\n', ":2: 'image' has bytes"),
        ("OTHER\n", "contains no requests to the default signature"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused(content, said, logged, finished_export, tmp_path):
    good = json.dumps(lines(logged[0], "houses")[0])
    other = good.replace("serving_default", "explain")
    path = tmp_path / "log.jsonl"
    path.write_text(content.replace("GOOD", good).replace("OTHER", other))
    result = invoke("predict", finished_export, "--file", path)
    assert result.exit_code == 1 and said in result.output, result.output


def test_a_line_that_is_being_written_is_left_out(logged, finished_export, tmp_path):
    good = json.dumps(lines(logged[0], "houses")[0])
    path = tmp_path / "log.jsonl"
    path.write_text(f"{good}\n{good[:50]}")
    assert is_request_log(path)
    assert len(pipelines.load(finished_export).predict(['{"district": "north"}'], allow_missing=True)) == 1
    result = invoke("predict", finished_export, '{"district": "north"}', "--file", path, "--allow-missing")
    assert result.exit_code == 0 and f"{path}:1" in result.output and f"{path}:2" not in result.output


def test_the_files_of_a_model_keep_to_their_size(tmp_path):
    most, line = 8000, b"x" * 99 + b"\n"
    workers = [Files(tmp_path, most, 2) for _ in range(2)]
    for number in range(300):
        assert all(files.write(line) for files in workers)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= most, number
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > most / 2, "no more is deleted than must be"
    assert len([*tmp_path.iterdir()]) <= 2 * PARTS
    assert not workers[0].write(b"x" * 5000), "longer than a file"
    assert workers[0].write(line)
    for path in tmp_path.iterdir():  # another worker has deleted a file that is in use
        path.unlink()
    assert workers[0].write(line) and [path.read_bytes() for path in tmp_path.iterdir()] == [line]


@pytest.fixture(scope="module")
def adder(tmp_path_factory) -> Version:
    return Version(toys.write_adder(tmp_path_factory.mktemp("adder") / "adder", 1))


def exchange(version: Version) -> Exchange:
    x = np.float32([1, 2])
    signature = version.signatures["serving_default"]
    return Exchange("adder", version, signature, {"x": x}, Sizes([0, 0], [0, 0]), {"y": x}, 0.1, 10, "id", False)


def made_log(folder: Path, **more) -> tuple[RequestLog, Gauges]:
    how = LogSettings(folder, **{"share": 1.0, "max_mb": 1.0, **more})
    settings = Settings({"adder": ModelSettings(folder)}, request_log=how)
    make_folder(folder / "adder")
    gauges = Gauges()
    return RequestLog({"adder": settings}, gauges), gauges


def counted(gauges: Gauges, result: str) -> float:
    return gauges.registry.get_sample_value("pipelines_logged_requests_total", {"model": "adder", "result": result})


async def ask(log: RequestLog, version: Version, times: int) -> None:
    for _ in range(times):
        log.seen(exchange(version))


def test_what_cannot_be_written_in_time_is_dropped_and_counted(tmp_path, adder, monkeypatch):
    monkeypatch.setattr("pipelines.serving.request_log.MOST", 5)
    log, gauges = made_log(tmp_path)
    goes_on = threading.Event()
    log._executor.submit(goes_on.wait)  # a disk that hangs

    async def scenario():
        await ask(log, adder, 8)
        goes_on.set()
        while log._waiting:
            await asyncio.sleep(0.01)
        await ask(log, adder, 1)

    asyncio.run(scenario())
    log.close()
    assert (counted(gauges, "written"), counted(gauges, "dropped")) == (6, 3)
    (file,) = tmp_path.rglob(FILES)
    assert len(file.read_text().splitlines()) == 12, "two rows each"


def test_a_sample_has_its_share(tmp_path, adder):
    log, gauges = made_log(tmp_path, share=0.3)
    asyncio.run(ask(log, adder, 600))
    log.close()
    assert 120 < counted(gauges, "written") < 240


def test_a_full_disk_stops_no_request(tmp_path, adder, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    log, gauges = made_log(tmp_path)
    monkeypatch.setattr(Files, "write", fail)
    asyncio.run(ask(log, adder, 3))
    log.close()
    assert counted(gauges, "failed") == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(pipelines.UserError, match="cannot create this folder"):
        made_log(tmp_path / "requests")


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "requests").write_text("")
    with pytest.raises(pipelines.UserError, match="cannot create this folder for requests"):
        made_log(tmp_path / "requests")

"""A server that compares its inputs with the training data."""

import re

import pytest
from conftest import houses
from serving.servers import Server, until

AREA = "Area__m2_"  # the name of "Area (m2)" in a graph


@pytest.fixture
def server(finished_export, tmp_path):
    """A server that measures the drift of houses."""
    started = Server(tmp_path / "log", finished_export, "--drift", "--drift-seconds", "0.2")
    yield started
    started.stop()


def gauges(server) -> dict[str, float]:
    found = re.findall(r'pipelines_input_drift{input="([^"]+)",model="houses"} ([\d.]+)', server.get("/metrics").text)
    return {name: float(value) for name, value in found}


def send(server, table):
    rows = table.drop(columns="price").rename(columns={"Area (m2)": AREA}).to_dict("records")
    for start in range(0, len(rows), 10):
        answer = server.post("/v1/models/houses:predict", {"instances": rows[start : start + 10]})
        assert answer.status_code == 200, answer.text


def test_each_input_has_a_gauge_and_what_drifts_is_logged_once(server):
    table = houses(400, seed=9)
    table = table[table["age"] != ""].astype({"age": float})  # JSON has no rows with different columns
    send(server, table)
    until(lambda: gauges(server).keys() == {AREA, "age", "district"})
    assert max(gauges(server).values()) < 0.3 and "inputs have drifted" not in server.log.read_text()
    for _ in range(4):
        send(server, table.assign(**{"Area (m2)": table["Area (m2)"] + 120}))
    until(lambda: gauges(server)[AREA] > 0.5)
    until(lambda: "inputs have drifted" in server.log.read_text())
    assert server.log.read_text().count(f'"input":"{AREA}"') == 1
    assert gauges(server)["district"] < 0.3
    assert 'pipelines_input_drift_rows{model="houses"} 1000' in server.get("/metrics").text

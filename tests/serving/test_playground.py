"""The page to try models on, as a browser shows it."""

import json
import shlex
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import tensorflow as tf
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipelines.serving.http import playground
from pipelines.serving.http.playground_answers import answer, marked
from pipelines.serving.http.playground_snippets import as_curl, as_python, body_of
from pipelines.serving.models.signatures import Signature
from pipelines.serving.models.tensors import Spec


def test_without_gradio_the_page_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(playground, "find_spec", lambda name: None)
    app = FastAPI()
    playground.add_playground(app, None, AsyncExitStack())
    assert "pip install '.[playground]'" in TestClient(app).get("/").text


def test_without_gradio_there_is_an_icon(monkeypatch):
    monkeypatch.setattr(playground, "find_spec", lambda name: None)
    app = FastAPI()
    playground.add_playground(app, None, AsyncExitStack())
    icon = TestClient(app).get("/favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml" and icon.text.startswith("<svg")


def test_the_first_visits_open_the_playground(toys_server):
    pytest.importorskip("gradio")
    with ThreadPoolExecutor() as pool:
        visits = [pool.submit(toys_server.get, "/playground/config", follow_redirects=True) for _ in range(3)]
    assert {visit.result().json()["title"] for visit in visits} == {"Models"}


def test_the_playground_answers_whichever_worker_is_asked(started, toy_exports):
    pytest.importorskip("gradio")
    server = started(toy_exports / "adder", "--workers", 2)
    httpx.get(f"{server.url}/playground/config", timeout=300, follow_redirects=True)  # imports Gradio
    for number in range(6):  # each request on a connection of its own
        config = server.get("/playground/config", follow_redirects=True).json()
        loading = next(each for each in config["dependencies"] if ["load"] in [t[1:] for t in each["targets"]])
        asked = {"data": [], "fn_index": loading["id"], "session_hash": f"s{number}"}
        joined = server.post("/playground/gradio_api/queue/join", asked)
        assert joined.status_code == 200, joined.text
        answered = server.get(f"/playground/gradio_api/queue/data?session_hash=s{number}")
        events = [json.loads(line.removeprefix("data: ")) for line in answered.text.splitlines() if line]
        (completed,) = (event for event in events if event["msg"] == "process_completed")
        assert completed["success"] and "adder" in json.dumps(completed)
    assert server.get("/playground/theme.css").headers["content-type"].startswith("text/css")
    assert server.stop() == 0


def test_white_space_has_a_name_to_see():
    pytest.importorskip("gradio")
    from pipelines.serving.http.playground_fields import visible

    assert [visible(text) for text in (" ", "\n", "a b", "")] == ["(space)", "(new line)", "a b", "(empty)"]


def signature(inputs: dict, outputs: dict, defaults: dict | None = None) -> Signature:
    """A signature of tensors, each told by its type and its number of dimensions after the first."""
    made = [
        {name: Spec(name, tf.as_dtype(kind), (None,) * (1 + more)) for name, (kind, more) in sorted(tensors.items())}
        for tensors in (inputs, outputs)
    ]
    return Signature("serving_default", "", *made, None, defaults or {})


TEXT, NUMBER = ("string", 0), ("float32", 0)


def test_the_text_of_an_answer_comes_before_its_numbers_and_is_no_html():
    translated = {"score": np.array([-0.5]), "translation": np.array([b"<b>ja</b>"], object)}
    shown = answer(signature({"source": TEXT}, {"score": NUMBER, "translation": TEXT}), translated, {"source": "yes"})
    assert shown.index("translation") < shown.index("score") and "&lt;b&gt;ja" in shown and "<b>ja" not in shown


def test_entities_have_their_probabilities():
    found = {
        "start": np.array([[0, 9, 0]]),
        "stop": np.array([[3, 13, 0]]),
        "type": np.array([[b"PER", b"LOC", b""]], object),
        "probability": np.array([[0.97, 0.5, 0.0]]),
    }
    shown = marked("Bob & in Oslo", found)
    assert ">Bob <small>PER 97%</small></mark> &amp; in <mark" in shown and ">Oslo <small>LOC 50%</small>" in shown


def test_contributions_are_a_table_with_the_largest_first():
    outputs = {"column": np.array([[b"a", b"b"]], object), "contribution": np.array([[1.0, -2.0]])}
    shown = answer(signature({"x": NUMBER}, {"column": ("string", 1), "contribution": ("float32", 1)}), outputs, {})
    assert shown.index("<td>b</td>") < shown.index("<td>a</td>")


def test_inputs_are_in_the_order_of_the_table_and_those_with_defaults_last():
    pytest.importorskip("gradio")
    from pipelines.serving.http.playground_fields import ordered

    table = signature({"area": NUMBER, "town": TEXT, "baths": NUMBER}, {})
    assert ordered(table, ["town", "baths", "area"]) == ["town", "baths", "area"]
    writing = signature({"max_tokens": NUMBER, "prompt": TEXT, "stop": TEXT}, {}, {"max_tokens": 5, "stop": ""})
    assert ordered(writing, [])[0] == "prompt"


def test_frequent_categories_of_the_training_data_can_be_chosen(finished_export):
    pytest.importorskip("gradio")
    from pipelines.serving.http.playground_fields import Hints

    version = SimpleNamespace(folder=max(finished_export.glob("[0-9]*")), about={})
    sketch = json.loads((version.folder / "assets.extra" / "sketch.json").read_text())
    hints = Hints.read(version)
    assert hints.order == sketch["inputs"] and any(hints.categories.values())


@pytest.mark.parametrize("signature_name", ["serving_default", "explain"])
def test_what_is_copied_for_curl_is_the_request(signature_name):
    instance = {"text": 'it\'s "$HOME" `x`\n', "number": None}
    body = body_of(signature_name, instance)
    command = shlex.split(as_curl("http://localhost:1/v1/models/m:predict", body, with_token=False))
    assert command[:2] == ["curl", "http://localhost:1/v1/models/m:predict"] and json.loads(command[-1]) == body
    assert body["instances"] == [instance] and body.get("signature_name", "serving_default") == signature_name


def test_what_is_copied_for_python_sends_the_request(monkeypatch, tmp_path):
    sent = []
    answered = SimpleNamespace(raise_for_status=lambda: None, json=lambda: {"predictions": [1]})
    asked = SimpleNamespace(post=lambda url, **options: sent.append((url, options)) or answered)
    monkeypatch.setitem(sys.modules, "requests", asked)
    monkeypatch.setenv("PIPELINES_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.jpg").write_bytes(b"abc")
    exec(as_python("http://h/v1/models/m:predict", body_of("serving_default", {"image": {"b64": ""}}), True), {})
    wanted = {"json": {"instances": [{"image": {"b64": "YWJj"}}]}, "headers": {"Authorization": "Bearer secret"}}
    assert sent == [("http://h/v1/models/m:predict", wanted)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("gradio")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("no chromium with its chromedriver here")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    quiet = "background-networking component-update sync gpu quic".split()
    switches = ["headless", "no-sandbox", "no-first-run", *(f"disable-{name}" for name in quiet)]
    for switch in [*switches, "window-size=1300,1300", f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{switch}")
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driven = webdriver.Chrome(options=options, service=Service(driver))
    yield Page(driven)
    driven.quit()


class Page:
    """What a person does on the page."""

    def __init__(self, driver):
        self.driver = driver

    def shown(self, selector: str, count: int = 1) -> list:
        deadline = time.monotonic() + 30
        while True:
            found = [e for e in self.driver.find_elements("css selector", selector) if e.is_displayed()]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{selector}: {self.driver.find_element('tag name', 'body').text}"
            time.sleep(0.2)

    def open(self, model: str) -> None:
        self.press(model, "button[role=tab]")
        deadline = time.monotonic() + 30
        while self.shown("button[role=tab][aria-selected=true]")[0].text != model:
            assert time.monotonic() < deadline, model
            time.sleep(0.2)

    def write(self, text: str, field: int = 0) -> None:
        """Fill a field in, once the form that was open before is gone."""
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + 30
        while True:
            try:
                return self.shown("textarea, input[type=text]", field + 1)[field].send_keys(text)
            except WebDriverException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def press(self, text: str, kind: str = "button") -> None:
        self.driver.execute_script("arguments[0].click()", next(b for b in self.shown(kind) if b.text == text))

    def reads(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.driver.find_element("tag name", "body").text:
            assert time.monotonic() < deadline, self.driver.find_element("tag name", "body").text
            time.sleep(0.2)

    def outside(self, own: str) -> list[str]:
        entries = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith((own, "chrome", "data:", "blob:"))]


def test_each_model_has_a_form_that_suits_it(browser, server, tmp_path):
    from PIL import Image

    browser.driver.get(server.url)
    browser.open("houses")
    browser.write("100")
    browser.press("Predict")
    browser.reads("price:")

    browser.open("tagger")
    browser.write("Mr Bob Lee lives in Oslo 7.")
    browser.press("Predict")
    browser.reads("PER ")

    Image.new("RGB", (8, 8), (7, 7, 7)).save(tmp_path / "grey.png")
    browser.open("pictures")
    browser.driver.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "grey.png"))
    browser.shown("img")
    browser.press("Predict")
    browser.reads("mean: 7")

    browser.open("speller")
    browser.press("stream", "button[role=tab]")
    browser.write("abcdef")
    browser.press("Stream text")
    deadline = time.monotonic() + 30
    while browser.shown("textarea", 2)[-1].get_property("value") != "abcdef" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert browser.shown("textarea", 2)[-1].get_property("value") == "abcdef"

    browser.driver.save_screenshot(str(tmp_path / "page.png"))
    assert browser.outside(server.url) == []


def test_a_mistake_is_said_on_the_page(browser, server):
    browser.driver.get(server.url)
    browser.open("adder")
    browser.write("ten")
    browser.press("Predict")
    browser.reads("x must be a number, not 'ten'")

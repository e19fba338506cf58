"""The page to try models on, as a browser shows it."""

import json
import shutil
import time

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipelines.serving.http import playground


def test_without_gradio_the_page_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(playground, "find_spec", lambda name: None)
    app = FastAPI()
    playground.add_playground(app, None)
    assert "pip install 'keras-task-pipelines[playground]'" in TestClient(app).get("/").text


def test_bars_of_white_space_have_names_to_see():
    pytest.importorskip("gradio")
    from pipelines.serving.http.forms import bars

    tokens = np.array([[b" ", b"\n", b"a b", b""]], dtype=object)
    answer = {"token": tokens, "probability": np.array([[0.5, 0.25, 0.125, 0.0]])}
    named = bars("token", "probability", answer, {})
    assert named == {"(space)": 0.5, "(new line)": 0.25, "a b": 0.125, "(empty)": 0.0}


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
    browser.write("old town", field=2)
    browser.press("Predict")
    browser.reads("price:")

    browser.open("tagger")
    browser.write("Mr Bob Lee lives in Oslo 7.")
    browser.press("Predict")
    browser.reads("PER")

    Image.new("RGB", (8, 8), (7, 7, 7)).save(tmp_path / "grey.png")
    browser.open("pictures")
    browser.driver.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "grey.png"))
    browser.shown("img")
    browser.press("Predict")
    browser.reads("mean: 7")

    browser.open("speller")
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

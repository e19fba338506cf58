"""A page in a browser without a network: it loads nothing, fits its window and prints."""

import shutil
from urllib.parse import quote

import pytest
from html_pages import read_page

from pipelines.pages.page import Code, Inner, Lines, Page, Picture, Section, Step, Steps, Table, Text, render

LONG = "a_name_that_is_much_longer_than_a_telephone_is_wide_" * 3
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" "1f15c4890000000d49444154789c6360000002000001e221bc33"
    "0000000049454e44ae426082"
)  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    pytest.importorskip("selenium")
    found, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if not found or not chromium:
        pytest.skip("no chromium with its chromedriver here")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    switches = ["headless", "no-sandbox", "no-first-run", "disable-gpu", "disable-background-networking"]
    for switch in [*switches, f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{switch}")
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driven = webdriver.Chrome(options=options, service=Service(found))
    yield driven
    driven.quit()


@pytest.fixture(scope="module")
def wide_page(tmp_path_factory):
    """A page whose parts are all wider than a telephone."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    inner = f"<!doctype html><title>x</title><body><h1 style='width:3000px'>{LONG}</h1></body>"
    parts = [
        Text(LONG, strong=True),
        Lines([LONG]),
        Steps([Step(LONG, LONG, [f"pipelines train {LONG}"])]),
        Table([LONG] * 6, [[LONG, "1,234,567 [1,234,567, 2,345,678]"] * 3]),
        Picture(LONG, PNG),
        Code(LONG * 3),
        Inner("inner", inner),
    ]
    path.write_text(render(Page(LONG, [LONG], [Section(LONG, parts)])), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("which", ["wide", "run"])
def test_nothing_is_loaded_and_nothing_is_wider_than_the_window(driver, wide_page, finished_run, which, width):
    path = wide_page if which == "wide" else finished_run / "report" / "index.html"
    read_page(path)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(f"file://{quote(str(path))}")
    for details in driver.find_elements("tag name", "summary"):
        details.click()
    widest = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert widest[0] <= widest[1] == width
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors


def test_what_is_folded_is_printed(driver, finished_run):
    driver.get(f"file://{quote(str(finished_run / 'report' / 'index.html'))}")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    height = driver.execute_script(
        "return [...document.querySelectorAll('details:not(.inner) pre')].map(each => each.offsetHeight)"
    )
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert height and all(height)

"""Who may use the server: web pages of other origins, and clients with tokens of their own."""

import httpx
import pytest
from conftest import invoke

PREDICT = "/v1/models/adder:predict"
TOKEN = "not-so-secret"
PAGE = "https://page.example"


def test_pages_of_the_origins_named_may_call_the_server(started, toy_exports):
    server = started(toy_exports / "adder", "--cors-origin", PAGE, PIPELINES_TOKEN=TOKEN)

    def preflight(origin: str) -> httpx.Response:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        return httpx.options(server.url + PREDICT, headers={"Origin": origin, **asked})

    allowed = preflight(PAGE)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert allowed.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    for headers, status in (({"Authorization": f"Bearer {TOKEN}"}, 200), ({}, 401)):  # a page can read a refusal too
        answer = server.post(PREDICT, {"instances": [1]}, headers={"Origin": PAGE, **headers})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    refused = preflight("https://other.example")
    assert refused.status_code == 400 and "Access-Control-Allow-Origin" not in refused.headers
    stranger = server.post(PREDICT, {"instances": [1]}, headers={"Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_no_page_may_call_a_server_by_default(toys_server):
    answer = toys_server.post(PREDICT, {"instances": [1]}, headers={"Origin": PAGE})
    assert answer.status_code == 200 and not any("access-control" in name for name in answer.headers)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    assert httpx.options(toys_server.url + PREDICT, headers=asked).status_code == 405


@pytest.mark.parametrize("origin", ["page.example", "https://page.example/", "https://Page.example", ""])
def test_an_origin_that_no_browser_sends_is_refused(origin, toy_exports):
    result = invoke("serve", toy_exports / "adder", "--cors-origin", origin)
    assert result.exit_code == 1 and "--cors-origin" in result.output and "https://example.org" in result.output

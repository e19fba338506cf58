"""Whatever the OpenAPI description allows: no request breaks the server, and each refusal has its reason."""

import json

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

MODELS = ("adder", "words", "judge", "speller", "none")


def ask(case) -> None:
    parameters = case.path_parameters
    if parameters and "name" in parameters:  # of real models, so that more than the name is looked at
        parameters["name"] = MODELS[len(str(case.body)) % len(MODELS)]
    for number in ("version", "number"):
        if parameters and number in parameters:
            parameters[number] = 1
    answer = case.call()
    case.validate_response(answer, checks=[not_a_server_error])
    if answer.status_code >= 400:
        assert set(json.loads(answer.content)) == {"error"}


def test_no_request_breaks_the_server(server):
    description = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [result.ok() for result in description.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        few(given(case=operation.as_strategy())(ask))()


def test_the_page_of_the_description_needs_no_outside_network(server):
    page = server.get("/docs").text
    assert "http://" not in page and "https://" not in page
    assert server.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_the_description_names_the_places_of_both_protocols(server):
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/v1/models/{name}:predict", "/v1/models/{name}/labels/{label}:predict", "/ready"} <= set(paths)
    assert {"/v2/models/{name}/infer", "/v2/models/{name}/versions/{number}/infer"} <= set(paths)

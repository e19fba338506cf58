"""What a server tells of its models, as the Open Inference Protocol has it."""

from typing import Any

from pipelines.serving.models.open_tensors import described
from pipelines.serving.service import Address, Service, find_signature


def index_of(service: Service) -> list[dict[str, str]]:
    """List the versions of all models with their states."""
    return [
        {
            "name": model.name,
            "version": str(number),
            "state": {"AVAILABLE": "READY", "END": "UNAVAILABLE"}.get(state.name, state.name),
            "reason": state.error,
        }
        for model in service.catalogue.models.values()
        for number, state in sorted(model.states.items())
    ]


def statistics_of(service: Service, address: Address) -> list[dict[str, Any]]:
    """Return the statistics of a version, of all loaded versions of a model, or if it has no name of all models.

    Raises:
        RequestError: If the version is not served.
    """
    if address.model and address.version is not None:
        return [service.find(address).statistics.record(address.model, address.version)]
    models = [service.catalogue.model(address.model)] if address.model else service.catalogue.models.values()
    loaded = ((model.name, number, version) for model in models for number, version in sorted(model.versions.items()))
    return [version.statistics.record(name, number) for name, number, version in loaded]


def metadata_of(service: Service, address: Address) -> dict[str, Any]:
    """Return the inputs and outputs of the default signature.

    Raises:
        RequestError: If the version is not served, or has no default signature.
    """
    version = service.find(address)
    signature = find_signature(version, "")
    versions = sorted(service.catalogue.model(address.model).versions)
    return {
        "name": address.model,
        "versions": [str(number) for number in versions],
        "platform": "tensorflow_savedmodel",
        "inputs": [described(spec) for spec in signature.inputs.values()],
        "outputs": [described(spec) for spec in signature.outputs.values()],
    }

"""The gRPC server: the services of TensorFlow Serving, the Open Inference Protocol and the standard health check.

https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2,
    prediction_service_pb2,
)

from pipelines.errors import UserError
from pipelines.serving.certificate import grpc_credentials
from pipelines.serving.grpc.calls import Calls, address_of
from pipelines.serving.grpc.inference_messages import inference_service
from pipelines.serving.grpc.inference_service import InferenceService
from pipelines.serving.grpc.prediction_service import PredictionService
from pipelines.serving.request_errors import invalid, unknown
from pipelines.serving.service import Service

HEALTH_SECONDS = 0.5  # interval of the readiness checks


@contextlib.asynccontextmanager
async def serve_grpc(service: Service) -> AsyncIterator[None]:
    """Serve gRPC until the context exits, then let calls in progress finish.

    Raises:
        UserError: If the server cannot listen on the port.
    """
    settings = service.settings
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(settings.workers > 1)),
        ],
        maximum_concurrent_rpcs=settings.max_connections,
    )
    calls = Calls(service)
    services = {
        prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"]: PredictionService(service),
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]: ModelService(service),
        inference_service(): InferenceService(service),
    }
    server.add_generic_rpc_handlers([calls.handler(described, servicer) for described, servicer in services.items()])
    states = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    place = f"{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.grpc_port}"
    try:
        if settings.tls_cert and settings.tls_key:
            server.add_secure_port(place, grpc_credentials(settings.tls_cert, settings.tls_key))
        else:
            server.add_insecure_port(place)
    except RuntimeError:
        raise UserError(
            "--grpc-port", f"cannot listen on {place}; the port may be in use, so choose another one"
        ) from None
    if settings.grpc_socket:
        server.add_insecure_port(f"unix:{settings.grpc_socket.resolve()}")
    await server.start()
    telling = asyncio.create_task(_tell_health(service, states))
    try:
        yield
    finally:
        telling.cancel()
        await server.stop(settings.stop_seconds)


async def _tell_health(service: Service, states: health.aio.HealthServicer) -> None:
    while True:
        status = health_pb2.HealthCheckResponse.SERVING if service.ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await states.set("", status)
        await asyncio.sleep(HEALTH_SECONDS)


class ModelService:
    """TensorFlow Serving's ModelService: the states and labels of model versions."""

    waits = False  # the states are of interest while models are loaded

    def __init__(self, service: Service):
        self.service = service

    async def GetModelStatus(self, request: Any, size: int) -> Message:
        """Return the states of the versions of a model."""
        address = address_of(request.model_spec)
        states = self.service.catalogue.model(address.model).states
        if address.version is not None or address.label is not None:
            number = address.version if address.label is None else self.service.find(address).number
            if number not in states:
                raise unknown(f"Could not find version {number} of model {address.model}")
            states = {number: states[number]}
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state in sorted(states.items(), reverse=True):
            status = response.model_version_status.add(version=number)
            status.state = get_model_status_pb2.ModelVersionStatus.State.Value(state.name)
            status.status.error_code = 2 if state.error else 0  # UNKNOWN
            status.status.error_message = state.error
        return response

    async def HandleReloadConfigRequest(self, request: Any, size: int) -> Message:
        """Set the labels of the served models; clients cannot change which folders are served."""
        configs = {config.name: config for config in request.config.model_config_list.config}
        models = self.service.catalogue.models
        if set(configs) != set(models):
            raise invalid(
                f"the served models cannot be changed; send a config for each of: {', '.join(sorted(models))}"
            )
        for name, config in configs.items():
            if config.base_path and Path(config.base_path) != models[name].folder:
                raise invalid(f"the folder of model {name} cannot be changed")
        for name, config in configs.items():
            models[name].set_labels(dict(config.version_labels))
            await models[name].refresh()
        return model_management_pb2.ReloadConfigResponse()

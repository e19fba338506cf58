"""TensorFlow Serving's gRPC services, and gRPC's own health check.

https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
"""

import asyncio
import contextlib
import hmac
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from pipelines.errors import UserError
from pipelines.serving import examples
from pipelines.serving.logs import log
from pipelines.serving.protos import from_proto
from pipelines.serving.refusals import Kind, Refusal, invalid, unknown
from pipelines.serving.service import Address, Answer, Service
from pipelines.serving.signatures import CLASSIFY, REGRESS, Arrays, Signature

HEALTH_SECONDS = 0.5  # between looks at whether the models are ready


@contextlib.asynccontextmanager
async def serve_grpc(service: Service) -> AsyncIterator[None]:
    """Answer gRPC until left, then let answers under way finish.

    Raises:
        UserError: where the port is taken.
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
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(calls), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(calls), server)
    states = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    place = f"{settings.host}:{settings.grpc_port}"
    try:
        if settings.tls_cert and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
            server.add_secure_port(place, grpc.ssl_server_credentials([pair]))
        else:
            server.add_insecure_port(place)
    except RuntimeError:
        raise UserError(
            "--grpc-port", f"cannot listen on {place}; another program may, so choose another port"
        ) from None
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


class Calls:
    """What every call passes: the token, the log, the figures, the last `except`."""

    def __init__(self, service: Service):
        self.service = service

    async def answer(
        self, method: str, model: str, context: grpc.aio.ServicerContext, answer: Callable[[], Awaitable[Message]]
    ) -> Message:
        """Answer a call, or end it with the reason."""
        began, code, request_id = time.monotonic(), "OK", uuid.uuid4().hex
        self.service.gauges.under_way.inc()
        try:
            self._authenticate(context)
            return await answer()
        except Refusal as refusal:
            code = refusal.kind.grpc
            await context.abort(grpc.StatusCode[code], refusal.reason)
            raise AssertionError("abort raises") from None
        except Exception:
            code = "INTERNAL"
            log("bug", logging.ERROR, exc_info=True, request_id=request_id, method=method)
            await context.abort(grpc.StatusCode.INTERNAL, f"internal error; the log has it as {request_id}")
            raise
        finally:
            self.service.gauges.under_way.dec()
            self._tell(method, model, code, time.monotonic() - began, request_id, context.peer())

    def _authenticate(self, context: grpc.aio.ServicerContext) -> None:
        token = self.service.settings.token
        if token is None:
            return
        given = str(dict(context.invocation_metadata() or ()).get("authorization", ""))
        kind, _, value = given.partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(value.encode(), token.encode()):
            raise Refusal(
                Kind.UNAUTHENTICATED, "the token is missing or wrong; send the metadata 'authorization: Bearer TOKEN'"
            )

    def _tell(self, method: str, model: str, code: str, seconds: float, request_id: str, client: str) -> None:
        known = model if model in self.service.catalogue.models else ""
        self.service.gauges.answered("grpc", known, code, seconds)
        log(
            "request",
            request_id=request_id,
            protocol="grpc",
            method=method,
            model=known,
            status=code,
            milliseconds=round(1000 * seconds, 2),
            client=client,
        )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers of models."""

    def __init__(self, calls: Calls):
        self.calls, self.service = calls, calls.service

    async def Predict(self, request, context) -> Message:
        """Answer tensors."""

        async def answer() -> Message:
            spec = request.model_spec
            answered = await self.service.answer(
                _address(spec),
                spec.signature_name,
                lambda signature: _tensors(request, signature),
                request.output_filter,
            )
            response = predict_pb2.PredictResponse(model_spec=_spec(spec, answered))
            for name, array in answered.outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array, answered.signature.outputs[name].dtype))
            return response

        return await self.calls.answer("Predict", request.model_spec.name, context, answer)

    async def Classify(self, request, context) -> Message:
        """Give examples' classes with their scores."""

        async def answer() -> Message:
            answered = await self._examples(request.model_spec, request.input, CLASSIFY)
            result = _classified(answered.outputs)
            return classification_pb2.ClassificationResponse(
                model_spec=_spec(request.model_spec, answered), result=result
            )

        return await self.calls.answer("Classify", request.model_spec.name, context, answer)

    async def Regress(self, request, context) -> Message:
        """Give examples' values."""

        async def answer() -> Message:
            answered = await self._examples(request.model_spec, request.input, REGRESS)
            result = _regressed(answered.outputs)
            return regression_pb2.RegressionResponse(model_spec=_spec(request.model_spec, answered), result=result)

        return await self.calls.answer("Regress", request.model_spec.name, context, answer)

    async def MultiInference(self, request, context) -> Message:
        """Classify and regress the same examples."""

        async def answer() -> Message:
            response = inference_pb2.MultiInferenceResponse()
            for task in request.tasks:
                if task.method_name not in (CLASSIFY, REGRESS):
                    raise invalid(f"Unrecognized signature method_name: {task.method_name}")
                answered = await self._examples(task.model_spec, request.input, task.method_name)
                result = response.results.add(model_spec=_spec(task.model_spec, answered))
                if task.method_name == CLASSIFY:
                    result.classification_result.CopyFrom(_classified(answered.outputs))
                else:
                    result.regression_result.CopyFrom(_regressed(answered.outputs))
            if not request.tasks:
                raise invalid("Inference request is empty")
            return response

        name = request.tasks[0].model_spec.name if request.tasks else ""
        return await self.calls.answer("MultiInference", name, context, answer)

    async def GetModelMetadata(self, request, context) -> Message:
        """Say what a model takes and answers."""

        async def answer() -> Message:
            if list(request.metadata_field) != ["signature_def"]:
                raise invalid("metadata_field takes 'signature_def', and nothing else")
            version = self.service.find(_address(request.model_spec))
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version.number
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.definitions)
            response.metadata["signature_def"].Pack(signatures)
            return response

        return await self.calls.answer("GetModelMetadata", request.model_spec.name, context, answer)

    async def _examples(self, spec: model_pb2.ModelSpec, given: Any, method: str) -> Answer:
        serialized = examples.from_input(given)
        return await self.service.answer(
            _address(spec),
            spec.signature_name,
            lambda signature: examples.as_inputs(signature, serialized),
            method=method,
        )


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """States of models, and their labels."""

    def __init__(self, calls: Calls):
        self.calls, self.service = calls, calls.service

    async def GetModelStatus(self, request, context) -> Message:
        """Say what became of a model's versions."""

        async def answer() -> Message:
            address = _address(request.model_spec)
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

        return await self.calls.answer("GetModelStatus", request.model_spec.name, context, answer)

    async def HandleReloadConfigRequest(self, request, context) -> Message:
        """Set the labels of models that are served; which folders are, the server's owner alone decides."""

        async def answer() -> Message:
            configs = {config.name: config for config in request.config.model_config_list.config}
            models = self.service.catalogue.models
            if set(configs) != set(models):
                raise invalid(f"the models are set when the server starts; name exactly: {', '.join(sorted(models))}")
            for name, config in configs.items():
                if config.base_path and Path(config.base_path) != models[name].folder:
                    raise invalid(f"the folder of model {name} is set when the server starts")
            for name, config in configs.items():
                models[name].set_labels(dict(config.version_labels))
                await models[name].refresh()
            return model_management_pb2.ReloadConfigResponse()

        return await self.calls.answer("HandleReloadConfigRequest", "", context, answer)


def _address(spec: model_pb2.ModelSpec) -> Address:
    if not spec.name:
        raise invalid("Missing ModelSpec name")
    choice = spec.WhichOneof("version_choice")
    return Address(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _spec(asked: model_pb2.ModelSpec, answer: Answer) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=asked.name, signature_name=answer.signature.name)
    spec.version.value = answer.version
    return spec


def _tensors(request: predict_pb2.PredictRequest, signature: Signature) -> Arrays:
    given, wanted = set(request.inputs), set(signature.inputs)
    if given != wanted:
        extra, missing = ", ".join(sorted(given - wanted)), ", ".join(sorted(wanted - given))
        raise invalid(f"inputs do not fit the signature. Sent extra: {{{extra}}}. Missing but required: {{{missing}}}.")
    return {name: from_proto(request.inputs[name], spec) for name, spec in signature.inputs.items()}


def _classified(outputs: Arrays) -> classification_pb2.ClassificationResult:
    result = classification_pb2.ClassificationResult()
    for pairs in examples.classes(outputs):
        result.classifications.add(
            classes=[classification_pb2.Class(label=label, score=score) for label, score in pairs]
        )
    return result


def _regressed(outputs: Arrays) -> regression_pb2.RegressionResult:
    return regression_pb2.RegressionResult(
        regressions=[regression_pb2.Regression(value=value) for value in examples.values(outputs)]
    )

"""TensorFlow Serving's PredictionService over gRPC.

https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_service.proto
"""

from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from pipelines.serving.grpc.calls import Calls, address_of
from pipelines.serving.models import examples
from pipelines.serving.models.protos import from_proto
from pipelines.serving.models.signatures import CLASSIFY, REGRESS, Arrays, Signature
from pipelines.serving.request_errors import invalid
from pipelines.serving.service import Answer


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The inference methods of TensorFlow Serving and the metadata of models."""

    def __init__(self, calls: Calls):
        self.calls, self.service = calls, calls.service

    async def Predict(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
        """Run a signature on tensors and return its outputs."""

        async def answer() -> Message:
            spec = request.model_spec
            answered = await self.service.answer(
                address_of(spec),
                spec.signature_name,
                lambda signature: _tensors(request, signature),
                request.output_filter,
            )
            response = predict_pb2.PredictResponse(model_spec=_spec(spec, answered))
            for name, array in answered.outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array, answered.signature.outputs[name].dtype))
            return response

        return await self.calls.answer("Predict", request.model_spec.name, context, answer)

    async def Classify(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
        """Return the classes and scores of examples."""

        async def answer() -> Message:
            answered = await self._examples(request.model_spec, request.input, CLASSIFY)
            result = _classified(answered.outputs)
            return classification_pb2.ClassificationResponse(
                model_spec=_spec(request.model_spec, answered), result=result
            )

        return await self.calls.answer("Classify", request.model_spec.name, context, answer)

    async def Regress(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
        """Return the regression values of examples."""

        async def answer() -> Message:
            answered = await self._examples(request.model_spec, request.input, REGRESS)
            result = _regressed(answered.outputs)
            return regression_pb2.RegressionResponse(model_spec=_spec(request.model_spec, answered), result=result)

        return await self.calls.answer("Regress", request.model_spec.name, context, answer)

    async def MultiInference(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
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

    async def GetModelMetadata(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
        """Return the signatures of a model."""

        async def answer() -> Message:
            if list(request.metadata_field) != ["signature_def"]:
                raise invalid("metadata_field must be 'signature_def'")
            version = self.service.find(address_of(request.model_spec))
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
            address_of(spec),
            spec.signature_name,
            lambda signature: examples.as_inputs(signature, serialized),
            method=method,
        )


def _spec(asked: model_pb2.ModelSpec, answer: Answer) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=asked.name, signature_name=answer.signature.name)
    spec.version.value = answer.version
    return spec


def _tensors(request: predict_pb2.PredictRequest, signature: Signature) -> Arrays:
    given, wanted = set(request.inputs), set(signature.inputs)
    if given != wanted:
        extra, missing = ", ".join(sorted(given - wanted)), ", ".join(sorted(wanted - given))
        raise invalid(
            f"inputs do not match the signature. Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
        )
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

"""TensorFlow Serving's PredictionService over gRPC.

https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_service.proto
"""

from functools import partial
from typing import Any

from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from pipelines.serving.grpc.calls import address_of
from pipelines.serving.models import examples
from pipelines.serving.models.protos import from_proto, put_proto
from pipelines.serving.models.signatures import CLASSIFY, REGRESS, Arrays, Signature
from pipelines.serving.request_errors import invalid
from pipelines.serving.service import Answer, Service

MOST_TASKS = 32  # of a MultiInference


class PredictionService:
    """The inference methods of TensorFlow Serving and the metadata of models."""

    waits = True  # the port of TensorFlow Serving opens once all models are loaded

    def __init__(self, service: Service):
        self.service = service

    async def Predict(self, request: Any, size: int) -> Message:
        """Run a signature on tensors and return its outputs."""
        spec = request.model_spec
        answered = await self.service.answer(
            address_of(spec),
            spec.signature_name,
            partial(_tensors, request, self.service.settings.max_rows),
            request.output_filter,
            size=size,
        )
        return await self.service.conversions.run(answered.size, _response, spec, answered)

    async def Classify(self, request: Any, size: int) -> Message:
        """Return the classes and scores of examples."""
        answered = await self._examples(request.model_spec, request.input, size)
        result = _classified(answered.outputs)
        return classification_pb2.ClassificationResponse(model_spec=_spec(request.model_spec, answered), result=result)

    async def Regress(self, request: Any, size: int) -> Message:
        """Return the regression values of examples."""
        answered = await self._examples(request.model_spec, request.input, size)
        result = _regressed(answered.outputs)
        return regression_pb2.RegressionResponse(model_spec=_spec(request.model_spec, answered), result=result)

    async def MultiInference(self, request: Any, size: int) -> Message:
        """Classify and regress the same examples."""
        if len(request.tasks) > MOST_TASKS:
            raise invalid(f"at most {MOST_TASKS} tasks are allowed")
        response = inference_pb2.MultiInferenceResponse()
        for task in request.tasks:
            if task.method_name not in (CLASSIFY, REGRESS):
                raise invalid(f"Unrecognized signature method_name: {task.method_name}")
            answered = await self._examples(task.model_spec, request.input, size)
            result = response.results.add(model_spec=_spec(task.model_spec, answered))
            if task.method_name == CLASSIFY:
                result.classification_result.CopyFrom(_classified(answered.outputs))
            else:
                result.regression_result.CopyFrom(_regressed(answered.outputs))
        if not request.tasks:
            raise invalid("Inference request is empty")
        return response

    async def GetModelMetadata(self, request: Any, size: int) -> Message:
        """Return the signatures of a model."""
        if list(request.metadata_field) != ["signature_def"]:
            raise invalid("metadata_field must be 'signature_def'")
        version = self.service.find(address_of(request.model_spec))
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version.number
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.definitions)
        response.metadata["signature_def"].Pack(signatures)
        return response

    async def _examples(self, spec: model_pb2.ModelSpec, given: Any, size: int) -> Answer:
        def read(signature: Signature) -> Arrays:
            return examples.as_inputs(signature, examples.from_input(given, self.service.settings.max_rows))

        return await self.service.answer(
            address_of(spec),
            spec.signature_name,
            read,
            size=size,
        )


def _spec(asked: model_pb2.ModelSpec, answer: Answer) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=asked.name, signature_name=answer.signature.name)
    spec.version.value = answer.version
    return spec


def _response(spec: model_pb2.ModelSpec, answered: Answer) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse(model_spec=_spec(spec, answered))
    for name, array in answered.outputs.items():
        put_proto(response.outputs[name], array, answered.signature.outputs[name].dtype)
    return response


def _tensors(request: predict_pb2.PredictRequest, most: int, signature: Signature) -> Arrays:
    signature.check_names(request.inputs, "the request")
    return {name: from_proto(tensor, signature.inputs[name], most) for name, tensor in request.inputs.items()}


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

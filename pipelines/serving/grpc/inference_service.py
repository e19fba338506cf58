"""The Open Inference Protocol v2 over gRPC, with streams of generated text."""

import math
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from google.protobuf.message import Message

from pipelines import __version__
from pipelines.export_folder import is_number
from pipelines.serving.grpc.inference_messages import message
from pipelines.serving.models.open_tensors import DATATYPES, EXTENSIONS, counted, described, from_bytes, raw_bytes
from pipelines.serving.models.signatures import Arrays, Signature
from pipelines.serving.models.streaming import START
from pipelines.serving.models.tensors import Spec, check_rows, check_shape
from pipelines.serving.overview import index_of, metadata_of, statistics_of
from pipelines.serving.request_errors import Kind, RequestError, invalid
from pipelines.serving.service import Address, Answer, Service

CONTENTS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **{"BOOL": "bool_contents", "INT64": "int64_contents", "UINT64": "uint64_contents"},
    **{"FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"},
}
SIGNATURE, CLASSIFICATION, SHARED = "signature_name", "classification", "shared_memory_region"  # parameters


class InferenceService:
    """The methods of `GRPCInferenceService`."""

    waits = False  # clients ask it whether the models are ready

    def __init__(self, service: Service):
        self.service = service

    async def ServerLive(self, request: Any, size: int) -> Message:
        """Tell that the server is running."""
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, request: Any, size: int) -> Message:
        """Tell whether all models are ready."""
        return message("ServerReadyResponse")(ready=self.service.ready)

    async def ModelReady(self, request: Any, size: int) -> Message:
        """Tell whether a model is ready."""
        try:
            self.service.find(_address(request.name, request.version))
        except RequestError as error:
            if error.kind is Kind.INVALID:
                raise
            return message("ModelReadyResponse")(ready=False)
        return message("ModelReadyResponse")(ready=True)

    async def ServerMetadata(self, request: Any, size: int) -> Message:
        """Return name and version of the server."""
        about = {"name": "keras-task-pipelines", "version": __version__, "extensions": EXTENSIONS}
        return message("ServerMetadataResponse")(**about)

    async def ModelMetadata(self, request: Any, size: int) -> Message:
        """Return the inputs and outputs of a model."""
        return message("ModelMetadataResponse")(**metadata_of(self.service, _address(request.name, request.version)))

    async def ModelStatistics(self, request: Any, size: int) -> Message:
        """Return counts and durations of inferences, of all models if the request names none."""
        address = _address(request.name, request.version) if request.name else Address("")
        return message("ModelStatisticsResponse")(model_stats=statistics_of(self.service, address))

    async def RepositoryIndex(self, request: Any, size: int) -> Message:
        """List the versions of all models, or those that are ready."""
        self._check_control()
        models = [each for each in index_of(self.service) if not request.ready or each["state"] == "READY"]
        return message("RepositoryIndexResponse")(models=models)

    async def RepositoryModelLoad(self, request: Any, size: int) -> Message:
        """Load a model that was unloaded, or its new versions."""
        self._check_control()
        await self.service.load(request.model_name)
        return message("RepositoryModelLoadResponse")()

    async def RepositoryModelUnload(self, request: Any, size: int) -> Message:
        """Unload a model."""
        self._check_control()
        await self.service.unload(request.model_name)
        return message("RepositoryModelUnloadResponse")()

    async def ModelInfer(self, request: Any, size: int) -> Message:
        """Run a signature on tensors and return its outputs."""
        wanted = [_checked(output.parameters, output.name) for output in request.outputs]
        answer = await self.service.answer(
            _address(request.model_name, request.model_version),
            _signature(request),
            partial(read_tensors, request, self.service.settings.max_rows, self.service.settings.max_values),
            wanted,
            size=size,
        )
        return await self.service.conversions.run(answer.size, _response, request, answer)

    async def ModelStreamInfer(self, request: Any, size: int) -> AsyncIterator[Message]:
        """Answer as `ModelInfer`, or with one message for each piece of a text that `stream_start` generates."""
        kind = message("ModelStreamInferResponse")
        try:
            if _signature(request) != START:
                yield kind(infer_response=await self.ModelInfer(request, size))
                return
            address = _address(request.model_name, request.model_version)
            read = partial(read_tensors, request, 1, self.service.settings.max_values)
            version = self.service.choose(address)
            async with self.service.stream(address, read, size) as pieces:
                async for piece in pieces:
                    outputs = {"text": _texts(piece.text), "finished": np.array([piece.finished])}
                    answer = Answer(version.number, version.signatures[START], outputs)
                    yield kind(infer_response=_response(request, answer))
        except RequestError as error:
            yield kind(error_message=error.reason, infer_response={"id": request.id})

    def _check_control(self) -> None:
        if not self.service.settings.repository_control:
            raise RequestError(
                Kind.FORBIDDEN, "clients may not load models; start the server with --repository-control"
            )


def read_tensors(request: Any, most_rows: int, most_values: int, signature: Signature) -> Arrays:
    """Read the input tensors of a `ModelInferRequest`, from their contents or from the raw contents beside them.

    Raises:
        RequestError: If a tensor is invalid; it names the tensor.
    """
    names = [tensor.name for tensor in request.inputs]
    signature.check_names(names, "inputs")
    raw = request.raw_input_contents
    if len(set(names)) < len(names):
        raise invalid("'inputs' has two tensors of one name")
    if raw and len(raw) != len(names):
        raise invalid(f"raw_input_contents has {len(raw)} tensors, but inputs has {len(names)}")
    arrays = {}
    for place, tensor in enumerate(request.inputs):
        spec = signature.inputs[_checked(tensor.parameters, tensor.name)]
        check_shape(tensor.shape, tensor.name)
        shape = spec.fitted(list(tensor.shape))
        check_rows(shape[0] if shape else 1, most_rows, tensor.name)
        if tensor.datatype != DATATYPES.get(spec.dtype):
            wanted = DATATYPES.get(spec.dtype)
            raise invalid(f"input '{tensor.name}' must have the datatype {wanted}, not {tensor.datatype}")
        if spec.is_text and math.prod(shape) > most_values:
            raise invalid(f"input '{tensor.name}' has {math.prod(shape):,} texts; at most {most_values:,} are allowed")
        arrays[tensor.name] = spec.check(
            from_bytes(raw[place], shape, spec) if raw else _from_contents(tensor, shape, spec)
        )
    return arrays


def _from_contents(tensor: Any, shape: list[int], spec: Spec) -> np.ndarray:
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        raise invalid(f"input '{spec.name}' of type {tensor.datatype} must be in raw_input_contents")
    values = getattr(tensor.contents, field)
    if len(values) != math.prod(shape):
        count = counted(math.prod(shape), "value")
        raise invalid(f"input '{spec.name}' must have {count} in {field}, according to its shape, not {len(values)}")
    array = np.empty(len(values), object if spec.is_text else spec.numpy_type)
    try:
        array[:] = values
    except OverflowError:
        raise invalid(f"input '{spec.name}' has a number outside the range of {spec.dtype.name}") from None
    return array.reshape(shape)


def _response(request: Any, answer: Answer) -> Message:
    head = {"model_name": request.model_name, "model_version": str(answer.version), "id": request.id}
    response = message("ModelInferResponse")(**head)
    specs = {name: described(answer.signature.outputs[name]) for name in answer.outputs}
    raw = bool(request.raw_input_contents) or any(spec["datatype"] not in CONTENTS for spec in specs.values())
    for name, array in answer.outputs.items():
        tensor = response.outputs.add(**{**specs[name], "shape": array.shape})
        if raw:
            response.raw_output_contents.append(raw_bytes(array))
        else:
            getattr(tensor.contents, CONTENTS[tensor.datatype]).extend(array.reshape(-1).tolist())
    return response


def _texts(text: str) -> np.ndarray:
    return np.array([text.encode()], object)


def _address(name: str, version: str) -> Address:
    if version and not is_number(version):
        raise invalid(f"the version must be a number, not '{version[:60]}'")
    return Address(name, int(version) if version else None)


def _signature(request: Any) -> str:
    return request.parameters[SIGNATURE].string_param if SIGNATURE in request.parameters else ""


def _checked(parameters: Mapping[str, Any], name: str) -> str:
    """Return the name of a tensor whose parameters ask for nothing that is not supported."""
    if CLASSIFICATION in parameters:
        raise invalid("the classification extension is not supported")
    if SHARED in parameters:
        raise invalid("shared memory is not supported; send and ask for the data itself")
    return name

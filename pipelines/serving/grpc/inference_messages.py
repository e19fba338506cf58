"""The messages and the service of the Open Inference Protocol over gRPC, from the field numbers of its specification.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md; for statistics and
the repository see https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE, SERVICE = "inference", "GRPCInferenceService"
# message -> its fields, each "number kind name"; `*` repeats a kind, `|` is one of several, `%` a map of texts to it
MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": "1 string name, 2 string version",
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 string name, 2 string version, 3 *string extensions",
    "ModelMetadataRequest": "1 string name, 2 string version",
    "TensorMetadata": "1 string name, 2 string datatype, 3 *int64 shape",
    "ModelMetadataResponse": "1 string name, 2 *string versions, 3 string platform, 4 *TensorMetadata inputs,"
    " 5 *TensorMetadata outputs",
    "InferParameter": "1 |bool bool_param, 2 |int64 int64_param, 3 |string string_param, 4 |double double_param,"
    " 5 |uint64 uint64_param",
    "InferTensorContents": "1 *bool bool_contents, 2 *int32 int_contents, 3 *int64 int64_contents,"
    " 4 *uint32 uint_contents, 5 *uint64 uint64_contents, 6 *float fp32_contents, 7 *double fp64_contents,"
    " 8 *bytes bytes_contents",
    "InferInputTensor": "1 string name, 2 string datatype, 3 *int64 shape, 4 %InferParameter parameters,"
    " 5 InferTensorContents contents",
    "InferRequestedOutputTensor": "1 string name, 2 %InferParameter parameters",
    "ModelInferRequest": "1 string model_name, 2 string model_version, 3 string id, 4 %InferParameter parameters,"
    " 5 *InferInputTensor inputs, 6 *InferRequestedOutputTensor outputs, 7 *bytes raw_input_contents",
    "InferOutputTensor": "1 string name, 2 string datatype, 3 *int64 shape, 4 %InferParameter parameters,"
    " 5 InferTensorContents contents",
    "ModelInferResponse": "1 string model_name, 2 string model_version, 3 string id, 4 %InferParameter parameters,"
    " 5 *InferOutputTensor outputs, 6 *bytes raw_output_contents",
    "ModelStreamInferResponse": "1 string error_message, 2 ModelInferResponse infer_response",
    "ModelStatisticsRequest": "1 string name, 2 string version",
    "StatisticDuration": "1 uint64 count, 2 uint64 ns",
    "InferStatistics": "1 StatisticDuration success, 2 StatisticDuration fail, 3 StatisticDuration queue,"
    " 5 StatisticDuration compute_infer",
    "ModelStatistics": "1 string name, 2 string version, 3 uint64 last_inference, 4 uint64 inference_count,"
    " 5 uint64 execution_count, 6 InferStatistics inference_stats",
    "ModelStatisticsResponse": "1 *ModelStatistics model_stats",
    "RepositoryIndexRequest": "1 string repository_name, 2 bool ready",
    "ModelIndex": "1 string name, 2 string version, 3 string state, 4 string reason",
    "RepositoryIndexResponse": "1 *ModelIndex models",
    "RepositoryModelLoadRequest": "1 string repository_name, 2 string model_name",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "1 string repository_name, 2 string model_name",
    "RepositoryModelUnloadResponse": "",
}
METHODS = (
    *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelStatistics"),
    *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
)
STREAM = "ModelStreamInfer"


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in filter(None, fields.split(", ")):
            _add(message, *field.split(" "))
    service = file.service.add(name=SERVICE)
    for name in METHODS:
        method = {"input_type": f".{PACKAGE}.{name}Request", "output_type": f".{PACKAGE}.{name}Response"}
        service.method.add(name=name, **method)
    service.method.add(
        name=STREAM,
        input_type=f".{PACKAGE}.ModelInferRequest",
        output_type=f".{PACKAGE}.{STREAM}Response",
        client_streaming=True,
        server_streaming=True,
    )
    return file


def _add(message: DescriptorProto, number: str, kind: str, name: str) -> None:
    plain = kind.lstrip("*|%")
    field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.startswith(("*", "%")):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.startswith("%"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add(entry, "1", "string", "key")
        _add(entry, "2", plain, "value")
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{entry.name}"
    elif plain in MESSAGES:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{plain}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{plain.upper()}")


_POOL = DescriptorPool()  # of our own: a client in the same process may bring the same names
_POOL.Add(_file())


def inference_service() -> ServiceDescriptor:
    """Return the description of the service."""
    return _POOL.FindServiceByName(f"{PACKAGE}.{SERVICE}")


def message(name: str) -> Any:
    """Return the class of a message."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))

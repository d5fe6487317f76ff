"""A client that knows nothing of Tollgate and asks the server for its contract, as grpcurl and Postman do."""

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2

from gateway import APP

VERSIONS = ["grpc.reflection.v1", "grpc.reflection.v1alpha"]


def ask(channel, version, **question):
    # The two versions differ only in their package; grpcio ships the messages of v1alpha.
    method = channel.stream_stream(
        f"/{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(**question)
    answer = next(method(iter([request]), metadata=[("authorization", f"Bearer {APP}")], timeout=10))
    assert not answer.HasField("error_response"), answer
    return answer


def pool_of(channel, version, symbol):
    """Fetches the file of a symbol and all that it imports."""
    files = {}
    answer = ask(channel, version, file_containing_symbol=symbol)
    waiting = list(answer.file_descriptor_response.file_descriptor_proto)
    while waiting:
        file = descriptor_pb2.FileDescriptorProto.FromString(waiting.pop())
        if file.name in files:
            continue
        files[file.name] = file
        for name in file.dependency:
            if name not in files:
                more = ask(channel, version, file_by_filename=name)
                waiting += more.file_descriptor_response.file_descriptor_proto
    pool = descriptor_pool.DescriptorPool()

    def add(name):
        file = files.pop(name, None)
        if file is not None:
            for needed in file.dependency:
                add(needed)
            pool.Add(file)

    for name in list(files):
        add(name)
    return pool


@pytest.mark.parametrize("version", VERSIONS)
def test_the_services_are_listed(gateway, version):
    with grpc.insecure_channel(gateway.host) as channel:
        listed = ask(channel, version, list_services="").list_services_response.service
    names = {service.name for service in listed}
    assert {"tollgate.v1.ChatService", "tollgate.v1.UsageService", "tollgate.admin.v1.KeyService"} <= names
    assert "grpc.health.v1.Health" in names


@pytest.mark.parametrize("version", VERSIONS)
def test_a_call_can_be_built_from_what_the_server_tells(gateway, version):
    with grpc.insecure_channel(gateway.host) as channel:
        pool = pool_of(channel, version, "tollgate.v1.ChatService")
        method = pool.FindServiceByName("tollgate.v1.ChatService").FindMethodByName("Complete")
        request = message_factory.GetMessageClass(method.input_type)()
        request.input.model = "echo"
        message = request.input.messages.add(role=3)
        message.parts.add(text="built at run time")
        answer = channel.unary_unary(
            "/tollgate.v1.ChatService/Complete",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )(request, metadata=[("authorization", f"Bearer {APP}")], timeout=10)
    assert "".join(part.text for part in answer.choices[0].message.parts) == "built at run time"

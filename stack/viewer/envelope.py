"""An OTLP export request whose items stay bytes, so that one of them can be refused and the rest be kept.

Protobuf reads a message as a whole or not at all: a name that is not UTF-8 in one span would cost the
batch. Traces and logs have the same shape down to their items (resource, scope, item, with the same
field numbers in both .proto files), so one envelope does for both.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "firedrill.envelope"


def _message(name: str, *fields: FieldDescriptorProto) -> DescriptorProto:
    return DescriptorProto(name=name, field=fields)


def _field(name: str, number: int, of: str = "") -> FieldDescriptorProto:
    """A repeated field of messages, or of bytes where no message is named."""
    kind = FieldDescriptorProto.TYPE_MESSAGE if of else FieldDescriptorProto.TYPE_BYTES
    return FieldDescriptorProto(
        name=name,
        number=number,
        label=FieldDescriptorProto.LABEL_REPEATED,
        type=kind,
        type_name=f".{_PACKAGE}.{of}" if of else None,
    )


_POOL = DescriptorPool()
_POOL.Add(
    FileDescriptorProto(
        name="envelope.proto",
        package=_PACKAGE,
        syntax="proto3",
        message_type=[
            _message("Scope", _field("items", 2)),
            _message("Resource", _field("resource", 1), _field("scopes", 2, of="Scope")),
            _message("Export", _field("resources", 1, of="Resource")),
        ],
    )
)
_Export: Any = GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.Export"))


def opened(body: bytes) -> Iterator[tuple[bytes, Iterator[bytes]]]:
    """Each resource of a request, with its items. Raises DecodeError, at once."""
    request = _Export.FromString(body)
    return (
        (b"".join(found.resource), (item for scope in found.scopes for item in scope.items))
        for found in request.resources
    )

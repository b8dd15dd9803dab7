"""The bus contract as data, from which `schemas/` is written. Nothing here runs in the sidecar."""

from bridge.contract.asyncapi import asyncapi
from bridge.contract.catalogue import CHANNELS, MESSAGE_TYPES, Channel, MessageType, message_type_for
from bridge.contract.files import drift, files, rust_types, write
from bridge.contract.schemas import documents

__all__ = [
    "CHANNELS",
    "MESSAGE_TYPES",
    "Channel",
    "MessageType",
    "asyncapi",
    "documents",
    "drift",
    "files",
    "message_type_for",
    "rust_types",
    "write",
]

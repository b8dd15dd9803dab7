"""The bus contract as data: what `schemas/` is written from. Nothing here runs in the sidecar."""

from bridge.contract.asyncapi import asyncapi
from bridge.contract.catalogue import CHANNELS, ENTRIES, Channel, Entry, entry_for
from bridge.contract.files import drift, files, write
from bridge.contract.schemas import documents

__all__ = [
    "CHANNELS",
    "ENTRIES",
    "Channel",
    "Entry",
    "asyncapi",
    "documents",
    "drift",
    "entry_for",
    "files",
    "write",
]

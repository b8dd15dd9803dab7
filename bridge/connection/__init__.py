"""Run the integrations: their sessions, their health, their subscriptions, and the operations on them."""

from bridge.connection.connection import Connection, Done, SessionListener
from bridge.connection.files import FileStates, file_states, named_files
from bridge.connection.inbound import Emit
from bridge.connection.manager import ConnectionManager, Prepared
from bridge.connection.subscriptions import SubscriptionSpec

__all__ = [
    "Connection",
    "ConnectionManager",
    "Done",
    "Emit",
    "FileStates",
    "Prepared",
    "SessionListener",
    "SubscriptionSpec",
    "file_states",
    "named_files",
]

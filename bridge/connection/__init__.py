"""Integrations by id: their life, their health, and the execution of operations."""

from bridge.connection.connection import Connection
from bridge.connection.guarded_call import Done
from bridge.connection.inbound import Emit
from bridge.connection.manager import ConnectionManager
from bridge.connection.setup import IntegrationSettings, setup_of
from bridge.connection.subscriptions import Wish

__all__ = ["Connection", "ConnectionManager", "Done", "Emit", "IntegrationSettings", "Wish", "setup_of"]

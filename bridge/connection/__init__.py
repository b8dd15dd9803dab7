"""Run the integrations: their sessions, their health, their subscriptions, and the operations on them."""

from bridge.connection.connection import Connection, Done
from bridge.connection.inbound import Emit
from bridge.connection.manager import ConnectionManager
from bridge.connection.setup import IntegrationSettings, setup_of
from bridge.connection.subscriptions import SubscriptionSpec

__all__ = ["Connection", "ConnectionManager", "Done", "Emit", "IntegrationSettings", "SubscriptionSpec", "setup_of"]

"""The durable way out: what `at_least_once` routes accept is on disk before anything else happens with it."""

from bridge.outbox.dead_letters import Wanted
from bridge.outbox.folder import default_folder
from bridge.outbox.outbox import Outbox
from bridge.outbox.responder import receipt, verdict_of

__all__ = ["Outbox", "Wanted", "default_folder", "receipt", "verdict_of"]

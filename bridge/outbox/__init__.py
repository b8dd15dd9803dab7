"""The outbox: what `at_least_once` routes accept is on disk before anything else happens with it."""

from bridge.outbox.dead_letters import Selection
from bridge.outbox.folder import default_folder
from bridge.outbox.outbox import Outbox

__all__ = ["Outbox", "Selection", "default_folder"]

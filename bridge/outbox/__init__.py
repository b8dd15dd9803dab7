"""The outbox: stores what `at_least_once` routes accept on disk, and delivers it from there."""

from bridge.outbox.dead_letters import Selection
from bridge.outbox.folder import default_folder
from bridge.outbox.outbox import Outbox

__all__ = ["Outbox", "Selection", "default_folder"]

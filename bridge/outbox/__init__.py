"""The outbox: stores what `at_least_once` routes accept on disk, and delivers it from there."""

from bridge.outbox.commit_queue import CommitQueue
from bridge.outbox.dead_letters import Selection
from bridge.outbox.folder import Folder, default_folder
from bridge.outbox.outbox import Outbox
from bridge.outbox.ports import DeliveryConnection, Storage

__all__ = ["CommitQueue", "DeliveryConnection", "Folder", "Outbox", "Selection", "Storage", "default_folder"]

"""The names that a fabric has at its broker: subjects, stream, bucket, consumers and keys.

| name | what |
| --- | --- |
| `nemo.<fabric>.event.<node>.<type>` | an event that a stream stores |
| `nemo.<fabric>.live.<node>.<type>` | an event that is sent at most once |
| `nemo.<fabric>.use.<integration>` | requests to those who offer an integration |
| `NEMO_<fabric>` | the stream |
| `NEMO_<fabric>` | the bucket, too (a stream `KV_NEMO_<fabric>`): keys `node.<node>`, `lease.<subscription>` |

An event type that cannot be a part of a subject is its digest there, after `~`; it is whole in the message.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

#: What a subject may hold without being hashed: printable ASCII without spaces and wildcards.
_FITS: Final = re.compile(r"[!-)+-=?-}]+(\.[!-)+-=?-}]+)*")
#: Bytes of an event type that is part of a subject; longer ones are hashed.
_MOST: Final = 255
_NODE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: The group in which those who offer an integration share the requests.
GROUP: Final = "nemo"


class Names:
    """The names of one fabric.

    Attributes:
        fabric: Its label.
        node: This bridge in it.
        stream: The stream of its events.
        bucket: Its bucket.
        consumer: The durable consumer of this node.
        events: The subjects of the stream.
    """

    def __init__(self, fabric: str, node: str) -> None:
        self.fabric = fabric
        self.node = node
        self.stream = f"NEMO_{fabric}"
        self.bucket = f"NEMO_{fabric}"
        self.consumer = self.consumer_of(node)
        self.events = f"nemo.{fabric}.event.>"
        self.live = f"nemo.{fabric}.live.>"

    def consumer_of(self, node: str) -> str:
        """Return the durable consumer of a node."""
        return f"node_{node}"

    def event(self, event_type: str, *, stored: bool) -> str:
        """Return the subject to which this node sends an event of this type."""
        return f"nemo.{self.fabric}.{'event' if stored else 'live'}.{self.node}.{subject_of(event_type)}"

    def sender_of(self, subject: str, *, stored: bool) -> tuple[str, str] | None:
        """Return the node that has sent an event to this subject, and the subject's end, which `subject_of` makes.

        None where no node can send an event to it.
        """
        head = f"nemo.{self.fabric}.{'event' if stored else 'live'}."
        node, dot, end = subject.removeprefix(head).partition(".")
        return (node, end) if dot and subject.startswith(head) and is_node(node) else None

    def imported(self, patterns: Sequence[str]) -> str:
        """Return the subject of the events in the stream that a node reads which imports these patterns.

        It is narrow only for one type without wildcards. A consumer has one subject (`nats-server` before 2.10), and a
        pattern with wildcards may also match types that are digests in the subject.
        """
        if len(patterns) == 1 and "*" not in patterns[0]:
            return f"nemo.{self.fabric}.event.*.{subject_of(patterns[0])}"
        return self.events

    def use(self, integration: str) -> str:
        """Return the subject of requests to those who offer an integration."""
        return f"nemo.{self.fabric}.use.{integration}"

    def node_key(self, node: str) -> str:
        """Return the key of a node."""
        return f"node.{node}"

    def lease_key(self, subscription: str) -> str:
        """Return the key of a `singleton` subscription."""
        return f"lease.{subscription}"


def is_node(name: str) -> bool:
    """Return whether a node can have this name.

    `bridge` is no node: on the bus, sources that begin with it are those of bridges (bus contract, "Transport").
    """
    return name != "bridge" and _NODE.fullmatch(name) is not None


def subject_of(event_type: str) -> str:
    """Return an event type as the end of a subject: itself where it fits, else `~` and a digest."""
    if len(event_type) <= _MOST and event_type.isascii() and _FITS.fullmatch(event_type):
        return event_type
    return "~" + hashlib.blake2b(event_type.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

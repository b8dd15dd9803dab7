"""The adapters that are installed, found by their entry points; a third party adds one without changing the bridge."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from bridge.core.fabric import USED
from bridge.core.ports import AdapterSpec

#: The entry point group: name = the `type` in the configuration, value = an `AdapterSpec`.
GROUP: Final = "nemo_bridge.adapters"
#: The adapter of integrations that other nodes of a fabric offer. It is none that a person can choose.
_USED: Final = EntryPoint(name=USED, value="bridge.adapters.fabric:SPEC", group=GROUP)
#: The adapters that come with the bridge, which are entry points as well.
_OWN: Final = {
    name: EntryPoint(name=name, value=f"bridge.adapters.{name.replace('-', '')}:SPEC", group=GROUP)
    for name in ("file", "http", "json-rpc", "mqtt", "nats", "redis", "static", "timer", "websocket")
}


class AdapterRegistry(Mapping[str, AdapterSpec]):
    """Map each `type` of integrations to its adapter, in order of the names.

    To find what other packages bring, a file of each installed package is read; that is done only for a type that does
    not come with the bridge, and for a list.

    An adapter is imported when it is first looked up, so that client libraries that nobody uses cost nothing. The
    adapter of integrations that other nodes of a fabric offer can be looked up, and is not listed: no `integration`
    block can have its type.
    """

    def __init__(self, *, bundled: bool = False) -> None:
        """Look nothing up yet; with `bundled` there are only the adapters that come with the bridge."""
        self._bundled = bundled

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        """What all installed packages bring."""
        return {
            entry.name: entry
            for entry in entry_points(group=GROUP)
            if entry.name != USED and (not self._bundled or entry.module.startswith("bridge.adapters."))
        }

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        """Return whether there is such a type; it is not imported for that."""
        return name in _OWN or name in self._entries

    def __getitem__(self, name: str) -> AdapterSpec:
        """Import an adapter and return its specification.

        Raises:
            KeyError: There is no such type.
            ImportError: It cannot be imported: a library that it needs is not installed, its code fails, or its entry
                point names something else than an `AdapterSpec`.
        """
        entry = _USED if name == USED else _OWN.get(name) or self._entries[name]
        try:
            spec = entry.load()
        except Exception as error:  # a third party's code: whatever it raises, the other adapters must work
            raise ImportError(f"{type(error).__name__}: {error}") from error
        if not isinstance(spec, AdapterSpec):
            raise ImportError(f"{entry.value} is of type {type(spec).__name__}, no AdapterSpec")  # noqa: TRY004 - one kind for all
        return spec

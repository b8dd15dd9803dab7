"""The adapters that are installed, by entry point; a third party adds one without touching us."""

from importlib.metadata import entry_points
from typing import Final

from bridge.core.ports import AdapterSpec

#: The entry point group: name = the `type` in the configuration, value = an `AdapterSpec`.
GROUP: Final = "nemo_bridge.adapters"


class AdapterRegistry:
    """Adapters by their `type`; one is imported when it is first asked for, so unused client libraries cost nothing."""

    def __init__(self, *, bundled: bool = False) -> None:
        """Look up what is installed; with `bundled` only what comes with the bridge, whatever else is there."""
        self._entries = {
            entry.name: entry
            for entry in entry_points(group=GROUP)
            if not bundled or entry.module.startswith("bridge.adapters.")
        }

    def names(self) -> list[str]:
        """All known types, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> AdapterSpec:
        """Load one adapter's spec.

        Raises:
            KeyError: There is no such type.
            ImportError: It cannot be had: a library that it stands on is not installed, its code fails when it is
                imported, or its entry point names something else than an `AdapterSpec`.
        """
        entry = self._entries[name]
        try:
            spec = entry.load()
        except Exception as error:  # a third party's code, which must not take the others along
            raise ImportError(f"{type(error).__name__}: {error}") from error
        if not isinstance(spec, AdapterSpec):
            raise ImportError(f"{entry.value} is of type {type(spec).__name__}, no AdapterSpec")  # noqa: TRY004 - one kind for all
        return spec

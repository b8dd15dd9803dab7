"""The log of a simulated run as text, one line after the other, as `journalctl` shows it."""

import json

from bridge.simulation import LogLine, Record


def log_text(record: Record) -> str:
    """Return each line of the log with its time in minutes and seconds, its level, its event and its fields."""
    lines = (one for one in record if isinstance(one, LogLine))
    return "\n".join(
        " ".join(
            [
                f"{one.at_ms // 60_000:02}:{one.at_ms // 1000 % 60:02}",
                one.level,
                f"[{one.text}]",
                *(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in one.fields.items()),
            ]
        )
        for one in lines
    )

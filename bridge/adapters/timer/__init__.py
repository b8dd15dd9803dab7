"""Timers: intervals and cron schedules: `type = "timer"`."""

from bridge.adapters.timer.adapter import SPEC

__all__ = ["SPEC"]

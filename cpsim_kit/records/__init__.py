"""What was said, as tables: every message of a charge point or a monitor, and the timing of heartbeats."""

from cpsim_kit.records.messages import MessageLog, Record
from cpsim_kit.records.timing import heartbeat_timing, outages, percentiles

__all__ = ["MessageLog", "Record", "heartbeat_timing", "outages", "percentiles"]

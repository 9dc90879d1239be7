"""Messages as tables: the record of a charge point or a monitor, and the timing of heartbeats."""

from cpsim_kit.records.messages import MessageLog
from cpsim_kit.records.record import COLUMNS, Pairing, Record, topic_of
from cpsim_kit.records.timing import heartbeat_timing, outages, percentiles

__all__ = [
    "COLUMNS",
    "MessageLog",
    "Pairing",
    "Record",
    "heartbeat_timing",
    "outages",
    "percentiles",
    "topic_of",
]

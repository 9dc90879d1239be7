"""What AWS IoT Core allows of MQTT messages: the sizes of topics, topic filters and payloads.

Also how an MQTT client's id begins that answers in the place of a local stack's CSMS.

AWS General Reference, "AWS IoT Core endpoints and quotas", section "Message broker and protocol limits".
"""

from __future__ import annotations

__all__ = [
    "LONGEST_TOPIC",
    "MOST_FILTERS",
    "MOST_PAYLOAD",
    "MOST_SLASHES",
    "STAND_IN",
    "counted",
    "is_filter",
    "is_too_long",
]

MOST_PAYLOAD = 128 * 1024  # bytes of a message
MOST_FILTERS = 8  # of one SUBSCRIBE
MOST_SLASHES = 7  # of a topic or topic filter
LONGEST_TOPIC = 256  # bytes of a topic or topic filter, in UTF-8

STAND_IN = "cpsim-answers-"  # while such a client is subscribed to +/in, a local stack's own CSMS does not answer

_UNCOUNTED = {"$aws/rules/": 3, "$share/": 2}  # Basic Ingest with the rule's name, a shared subscription with its own


def counted(topic: str) -> str:
    """The part of a topic or filter that AWS IoT Core counts: without ``$aws/rules/{name}/`` and ``$share/{name}/``."""
    for prefix, levels in _UNCOUNTED.items():
        if topic.startswith(prefix):
            return topic.split("/", levels)[-1]
    return topic


def is_too_long(topic: str) -> bool:
    """Whether a topic or topic filter has more bytes or slashes than AWS IoT Core allows."""
    topic = counted(topic)
    return topic.count("/") > MOST_SLASHES or len(topic.encode(errors="surrogatepass")) > LONGEST_TOPIC


def is_filter(text: str) -> bool:
    """Whether a string is a topic filter (MQTT 3.1.1, section 4.7) that AWS IoT Core accepts."""
    levels = text.split("/")
    wildcards = {level for level in levels if "+" in level or "#" in level}
    return (
        text != "" and "\0" not in text and wildcards <= {"+", "#"} and "#" not in levels[:-1] and not is_too_long(text)
    )

"""OCPP-J without I/O: frames, payloads and JSON schemas of OCPP 1.6, 2.0.1 and 2.1, and message ids."""

from cpsim_kit.ocpp_j.frames import Call, Error, Malformed, Result, parse
from cpsim_kit.ocpp_j.payloads import Message
from cpsim_kit.ocpp_j.versions import VERSIONS, Version

__all__ = ["VERSIONS", "Call", "Error", "Malformed", "Message", "Result", "Version", "parse"]

"""Observes from outside: the path of each message, the gateway under load, and what a CSMS answers."""

from cpsim_kit.observe.gateway_watch import GatewayWatch
from cpsim_kit.observe.replay import replay
from cpsim_kit.observe.trace import Trace

__all__ = ["GatewayWatch", "Trace", "replay"]

"""What looks at the whole way of a message, or at the gateway, from outside."""

from cpsim_kit.observe.gateway_watch import GatewayWatch
from cpsim_kit.observe.replay import replay
from cpsim_kit.observe.trace import Trace

__all__ = ["GatewayWatch", "Trace", "replay"]

"""Awaitable EV charge points and AWS helpers for notebooks: explore the AWS OCPP Gateway, with or without AWS.

from cpsim_kit import Stack

stack = await Stack.open()                      # the embedded local stack, or the one CPSIM_STACK names
await stack.things.create("CP1")
async with stack.charge_point("CP1") as cp:
    await cp.boot()
"""

from typing import TYPE_CHECKING, Any

from cpsim_kit import errors, plots
from cpsim_kit.charge_point import Beat, ChargePoint, Network
from cpsim_kit.charge_point.backoff import Backoff
from cpsim_kit.check_up import CheckUp, check_up
from cpsim_kit.errors import Closed
from cpsim_kit.fleet import Fleet, FleetResult, poisson
from cpsim_kit.notebook import checkpoint, expect_error, run
from cpsim_kit.records import MessageLog, Record
from cpsim_kit.records.timing import heartbeat_timing, outages, percentiles
from cpsim_kit.station import Evse, Station, Vehicle

if TYPE_CHECKING:
    from cpsim_kit.aws.shadow import Shadow
    from cpsim_kit.aws.things import Thing
    from cpsim_kit.observe.replay import replay
    from cpsim_kit.stack import Stack

__version__ = "0.1.0"

__all__ = [
    "Backoff",
    "Beat",
    "ChargePoint",
    "CheckUp",
    "Closed",
    "Evse",
    "Fleet",
    "FleetResult",
    "MessageLog",
    "Network",
    "Record",
    "Shadow",
    "Stack",
    "Station",
    "Thing",
    "Vehicle",
    "check_up",
    "checkpoint",
    "errors",
    "expect_error",
    "heartbeat_timing",
    "outages",
    "percentiles",
    "plots",
    "poisson",
    "replay",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import what stands on boto3 when it is used first: a station in somebody's own tests does without."""
    if name not in {"Shadow", "Stack", "Thing", "replay"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cpsim_kit.aws.shadow import Shadow  # noqa: PLC0415
    from cpsim_kit.aws.things import Thing  # noqa: PLC0415
    from cpsim_kit.observe.replay import replay  # noqa: PLC0415
    from cpsim_kit.stack import Stack  # noqa: PLC0415

    globals().update(Shadow=Shadow, Stack=Stack, Thing=Thing, replay=replay)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""``cpsim simulate``: one charge point that boots and sends heartbeats."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

from cpsim_kit.charge_point import ChargePoint, boot_until_accepted
from cpsim_kit.cli.arguments import LOCAL_INTERVAL
from cpsim_kit.cli.stack import how_to_delete, open_stack
from cpsim_kit.cli.terminal import DONE, FAILED
from cpsim_kit.errors import ConnectionLost, NotRegistered

__all__ = ["boot_and_beat", "run"]


def run(options: argparse.Namespace) -> int:
    """Boot a charge point and send heartbeats, at the address of ``--url`` or on a stack."""
    options.signals.stopping = "stopping: closing the connection; Ctrl-C again ends at once"
    if options.url is None:
        options.signals.stopping = "stopping: closing the connection, deleting the Thing; Ctrl-C again leaves it"
        options.signals.leaving = how_to_delete(f"the Thing {options.cp_id}", f"delete({options.cp_id!r})")
    return asyncio.run(options.signals.until_interrupted(_simulate(options))) or DONE


async def _simulate(options: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as contexts:
        stack = None
        if options.url is None:
            stack = await contexts.enter_async_context(open_stack(options.interval or LOCAL_INTERVAL))
            await stack.things.create(options.cp_id)
        charge_point = ChargePoint(
            options.cp_id,
            stack.websocket_url if stack is not None else options.url,
            version=options.ocpp,
            model=options.cp_model,
            vendor_name=options.cp_vendor,
            serial_number=options.cp_serial,
            firmware_version=options.cp_version,
            modem={name: value for name in ("iccid", "imsi") if (value := getattr(options, f"cp_{name}"))},
            password=options.password,
        )
        try:
            async with charge_point:
                await boot_and_beat(charge_point, options.count, options.interval)
                if stack is not None:
                    shadow = await stack.shadow(options.cp_id).wait_for(lambda shadow: shadow.reported)
                    print(json.dumps(shadow.reported, indent=2))
        except ConnectionLost as exc:
            logging.error("%s: %s", options.cp_id, exc.closed)
            print(exc, file=sys.stderr)
            if isinstance(exc, NotRegistered):
                print(
                    f"Or: cpsim simulate without --url, which creates it; or cpsim stack --thing {options.cp_id}",
                    file=sys.stderr,
                )
            return FAILED
    return DONE


async def boot_and_beat(
    charge_point: ChargePoint, count: int | None, own_interval: int | None, *, own_waits: Iterator[float] | None = None
) -> None:
    """Boot until accepted, then send heartbeats.

    When the CSMS instructs no interval above 0, the charge point chooses the times itself (OCPP 1.6, 4.2).

    Args:
        charge_point: The charge point, connected.
        count: The number of heartbeats; without end when None.
        own_interval: Seconds between heartbeats that it chooses; those of ``ChargePoint`` when None.
        own_waits: Seconds until the next boot that it chooses; 5, 10, … 320 when None.
    """
    if own_interval is not None:
        charge_point.heartbeat_interval = own_interval

    def report_wait(answer: Any, seconds: float) -> None:
        whose = "" if answer.interval > 0 else f", its own choice, as the CSMS's interval is {answer.interval}"
        logging.warning("%s: boot %s, again in %s s%s", charge_point.id, charge_point.boot_status, seconds, whose)

    answer = await boot_until_accepted(charge_point, own_waits=own_waits, on_wait=report_wait)
    logging.info("%s: connected to central system", charge_point.id)
    logging.info("%s: heartbeat interval set to %s", charge_point.id, charge_point.heartbeat_interval)
    if not answer.interval > 0:
        logging.warning(
            "%s: the interval is the charge point's own choice, as the CSMS's is %s%s",
            charge_point.id,
            answer.interval,
            "" if own_interval is not None else "; choose another one with --interval",
        )
    elif own_interval not in {None, answer.interval}:
        logging.warning("%s: --interval is not used: the CSMS instructs %s s", charge_point.id, answer.interval)
    async for _beat in charge_point.heartbeats(count):
        pass

"""``cpsim stack``: the local stack until a signal ends it. Also the stack that ``simulate`` and ``load`` work on."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from cpsim_kit.cli.terminal import DONE
from cpsim_kit.stack import Stack

__all__ = ["how_to_delete", "open_stack", "run"]


def run(options: argparse.Namespace) -> int:
    """Run the local stack until SIGINT, SIGTERM or SIGHUP."""
    return asyncio.run(_keep_stack(options))


async def _keep_stack(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in {signal.SIGINT, signal.SIGTERM, *options.signals.handled}:
        signal.signal(signal_number, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with Stack.local(interval=options.interval, csms=options.csms) as stack:
        for charge_point_id in options.thing:
            await stack.things.create(charge_point_id)
        addresses = {
            "websocket_url": stack.websocket_url,
            "endpoint_url": stack.endpoint_url,
            "stack_name": stack.name,
            "region": stack.region,
            "mqtt_url": stack.mqtt_url,
            "access_key_id": stack.access_key and stack.access_key.id,
            "secret_access_key": stack.access_key and stack.access_key.secret,
        }
        print(json.dumps(addresses) if options.json else _lines_to_paste(addresses, options.thing), flush=True)
        died = asyncio.create_task(stack.wait_died(), name="cpsim[stack].watch")
        stopped = asyncio.create_task(stop.wait(), name="cpsim[stack].stop")
        done, waiting = await asyncio.wait([died, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if died in done:
            raise died.result()
    return DONE


def _lines_to_paste(addresses: dict[str, Any], things: list[str]) -> str:
    simulate = "--cp-id CP1"  # without --url, simulate uses the stack exported above and creates the Thing
    if things:
        simulate = f"--url {addresses['websocket_url']} --cp-id {things[0]}"
    return f"""\
# The local stack runs until Ctrl-C. In another terminal:
export CPSIM_STACK={addresses["stack_name"]}
export AWS_ENDPOINT_URL={addresses["endpoint_url"]}
export AWS_DEFAULT_REGION={addresses["region"]}
export AWS_ACCESS_KEY_ID={addresses["access_key_id"]} AWS_SECRET_ACCESS_KEY={addresses["secret_access_key"]}
cpsim simulate {simulate}
# MQTT over WebSockets: {addresses["mqtt_url"]}"""


@contextlib.asynccontextmanager
async def open_stack(interval: int) -> AsyncIterator[Stack]:
    """Open the stack that CPSIM_STACK names; without that, start a local one that instructs this interval."""
    async with Stack.local(interval=interval) if _is_started_here() else Stack.open() as stack:
        logging.info("%s: %s", stack.name, stack)
        yield stack


def _is_started_here() -> bool:
    return os.environ.get("CPSIM_STACK", "").strip() in {"", "local"}


def how_to_delete(what: str, delete: str) -> str:
    """What to print when cleaning up was skipped; nothing for a local stack started here, as its Things end with it."""
    if _is_started_here():
        return ""
    return f"{what} may be there still; to delete in Python: stack = await Stack.open(); await stack.things.{delete}"

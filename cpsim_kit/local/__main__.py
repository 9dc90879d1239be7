"""The child process of the local stack: ``python -m cpsim_kit.local``, started by ``launcher``.

Its first line on stdout, a pipe to its parent, is one JSON object with the addresses and the access key. It ends on
SIGTERM, and when its standard input ends. Standard input is a pipe from its parent, which the operating system closes
when the parent ends. A fork of the parent keeps the pipe open, so this process also checks whether its parent is alive.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from cpsim_kit.basics.process import raise_file_limit, run_fast
from cpsim_kit.local import message_processor
from cpsim_kit.local.launcher import CSMS
from cpsim_kit.local.server import Csms, Emulator, Gateway, Registry, Tables
from cpsim_kit.local.server.guard.door import SERVICES
from cpsim_kit.local.template import template
from cpsim_kit.local.usage import this_process

_GRACE = 2.0  # seconds to close in good order; then the process ends anyway
_PARENT_INTERVAL = 1.0  # seconds between two checks of the parent

_SOURCE = Path(message_processor.__file__)  # of the Lambda function
_LAMBDA = frozenset({"lambda", "logs"})  # services that answer only where the CSMS is a Lambda function


async def _run(options: argparse.Namespace, stop: asyncio.Event) -> None:
    is_lambda, ledger = options.csms == "lambda", options.csms != "sample"
    services = {*SERVICES, *options.service, *(_LAMBDA if is_lambda else ())}
    emulator = Emulator(options.region, services=services)
    await emulator.start()
    source = _SOURCE.read_text(encoding="utf-8") if is_lambda else None  # noqa: ASYNC240 - before it serves anybody
    registry = Registry(emulator, template(ledger=ledger, processor=source))
    gateway = Gateway(emulator, registry.has)
    await gateway.start()
    websocket_url = f"ws://127.0.0.1:{gateway.port}"
    await registry.deploy(
        options.stack_name, WebsocketUrl=websocket_url, Process=this_process(), Interval=str(options.interval)
    )
    parts: list[Any] = [gateway, registry, emulator]
    if not is_lambda:
        tables = Tables.of(emulator, registry.resources) if ledger else None
        csms = Csms(emulator, interval=options.interval, character=options.csms, tables=tables)
        await csms.start()
        parts.insert(1, csms)
    addresses = {
        "websocket_url": websocket_url,
        "endpoint_url": emulator.url,
        "stack_name": options.stack_name,
        "region": options.region,
        "access_key_id": emulator.key.id,
        "secret_access_key": emulator.key.secret,
    }
    gc.freeze()  # the objects of the start live as long as the process
    print(json.dumps(addresses), flush=True)  # noqa: T201 - the launcher reads it
    await stop.wait()
    for part in parts:
        await part.stop()


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, log: str) -> None:
    """Set ``stop`` when standard input ends, or when the parent has ended and a fork of it keeps the pipe open.

    Runs in a thread, so that a busy event loop does not delay it.
    """
    parent = os.getppid()
    with contextlib.suppress(OSError):
        while os.getppid() == parent:
            if sys.platform != "win32" and not select.select([0], [], [], _PARENT_INTERVAL)[0]:
                continue
            if not os.read(0, 4096):
                break
    with contextlib.suppress(OSError):
        os.unlink(log)  # the parent cannot do it any more
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(stop.set)
    _exit_after_grace()


def _exit_after_grace() -> None:
    timer = threading.Timer(_GRACE, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


async def _main(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(*_: object) -> None:
        loop.call_soon_threadsafe(stop.set)
        _exit_after_grace()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets Ctrl-C, too, and ends this process in good order
    threading.Thread(target=_watch_parent, args=(loop, stop, options.log), daemon=True).start()
    await _run(options, stop)


def main() -> None:
    """Run until the parent or a signal stops it."""
    parser = argparse.ArgumentParser(prog="python -m cpsim_kit.local", description="The local stack's process.")
    parser.add_argument("--stack-name", default="AwsOcppGatewayStack")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--interval", type=int, default=10)
    parser.add_argument("--csms", choices=CSMS, default="kit")
    parser.add_argument("--service", action="append", default=[], help="an additional AWS service that answers")
    parser.add_argument("--log", default="")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("cpsim").setLevel(logging.INFO)
    logging.getLogger("kms").setLevel(logging.ERROR)  # it warns that cryptography is missing, which is not needed here
    raise_file_limit()
    run_fast(_main(options))


if __name__ == "__main__":
    main()

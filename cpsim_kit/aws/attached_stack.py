"""What a stack gives, wherever it runs: its Things, shadows, rules, topics and charge points, by its addresses alone.

``Stack`` adds how it is opened, and what it knows of a local stack's process.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Self
from weakref import WeakSet

from cpsim_kit.aws.cleanup import Cleanup
from cpsim_kit.aws.csms_calls import CsmsCaller
from cpsim_kit.aws.deployment import TOKENS_TABLE, TRANSACTIONS_TABLE, Deployment
from cpsim_kit.aws.ledger_table import LedgerTable
from cpsim_kit.aws.message_processor import Holders, MessageProcessor
from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.aws.rules import Rule
from cpsim_kit.aws.session import Aws
from cpsim_kit.aws.shadow import ShadowRequest
from cpsim_kit.aws.things import Things
from cpsim_kit.aws.tokens import Tokens
from cpsim_kit.aws.transactions import Transactions
from cpsim_kit.basics.cards import card
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import AwsError, CpsimError
from cpsim_kit.station import Evse, Station
from cpsim_kit.station.profiles.sharing import SharingRule

__all__ = ["AttachedStack"]

logger = logging.getLogger("cpsim.stack")


class AttachedStack:
    """A gateway that was found by its CloudFormation stack, and what was opened and created there.

    Args:
        aws: The door to boto3.
        deployment: Its addresses.
        explain: Called when a charge point's connection fails; an error that it returns is raised instead.
    """

    def __init__(
        self, aws: Aws, deployment: Deployment, explain: Callable[[], CpsimError | None] | None = None
    ) -> None:
        self.name = deployment.name
        self.region = aws.region
        self.websocket_url = deployment.websocket_url
        self.endpoint_url = aws.endpoint_url
        self._aws = aws
        self._deployment = deployment
        self._explain = explain
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._cleanup = Cleanup()
        self._rules: dict[str, list[Rule]] = {}
        self._processors: dict[str, Holders] = {}
        self._charge_points: WeakSet[ChargePoint] = WeakSet()
        self._stations: WeakSet[Station] = WeakSet()
        self._watching: WeakSet[Any] = WeakSet()  # monitors and gateway watches
        self._caller = CsmsCaller(aws, aws.mqtt_endpoint)
        self.things = Things(aws, deployment.registry_table, self._cleanup.add)
        self.tokens = Tokens(self._ledger_table(TOKENS_TABLE, "tokens"), self._cleanup.add)
        self.transactions = Transactions(self._ledger_table(TRANSACTIONS_TABLE, "transactions"))

    def _ledger_table(self, name: str, what: str) -> LedgerTable:
        deployed = self._deployment.table(name)
        table = deployed or self._deployment.table_name(name)
        return LedgerTable(self._aws, table, what, is_deployed=deployed is not None)

    @property
    def _state(self) -> str:
        return "closed" if self._closed else "open"

    def _repr_html_(self) -> str:
        rows = {
            "region": self.region,
            "charge points connect to": self.websocket_url,
            "boto3 connects to": self.endpoint_url,
            "open charge points": ", ".join(sorted(each.id for each in self._charge_points if each.is_open)[:10]),
            "created here": ", ".join(self._cleanup.names[:10]),
        }
        return card(f"Stack {self.name}", self._state, {} if self._closed else rows)

    def _require_open(self) -> None:
        if self._closed:  # the boto3 session stays open until everything is deleted
            raise RuntimeError("this stack is closed; open another: stack = await Stack.open()")

    def client(self, service: str) -> Any:
        """A boto3 client of this stack's session, for ad hoc use; made once. Its calls block the cell."""
        self._require_open()
        return self._aws.client(service)

    def charge_point(self, charge_point_id: str, **options: Any) -> ChargePoint:
        """A charge point at this stack's gateway; awaited or entered. Closing the stack closes it.

        Args:
            charge_point_id: The identity; its Thing must exist.
            **options: As :class:`~cpsim_kit.charge_point.ChargePoint` takes them.
        """
        self._require_open()
        charge_point = ChargePoint(charge_point_id, self.websocket_url, explain=self._explain, **options)
        self._charge_points.add(charge_point)
        return charge_point

    def station(
        self,
        charge_point_id: str,
        *,
        evses: Sequence[Evse] | None = None,
        variables: Mapping[str, object] | None = None,
        seed: int | None = None,
        speed: float = 1,
        record: bool = True,
        reconnect: bool = True,
        share: str | SharingRule = "equal",
        quirks: Sequence[str] = (),
        **options: Any,
    ) -> Station:
        """A charge point that works by itself at this stack's gateway; awaited or entered. Closing the stack closes it.

        Args:
            charge_point_id: The identity; its Thing must exist.
            evses: As :class:`~cpsim_kit.station.Station` takes it, like the following ones.
            variables: Values that differ from the defaults.
            seed: Of everything random.
            speed: How many seconds of its clock pass in a real second; ``math.inf`` to go from event to event.
            record: Whether sessions keep a row for each change and each meter reading.
            reconnect: Whether it connects again when the connection is lost.
            share: How its EVSEs share a limit of the station: "equal", "first come", or a function.
            quirks: What it says wrongly, as awkward stations do.
            **options: As :class:`~cpsim_kit.charge_point.ChargePoint` takes them, e.g. ``version="1.6"``.
        """
        self._require_open()
        station = Station(
            charge_point_id,
            self.websocket_url,
            evses=evses,
            variables=variables,
            seed=seed,
            speed=speed,
            record=record,
            reconnect=reconnect,
            share=share,
            quirks=quirks,
            explain=self._explain,
            **options,
        )
        self._stations.add(station)
        return station

    def shadow(self, charge_point_id: str, name: str = "") -> ShadowRequest:
        """The Device Shadow of a charge point: ``await stack.shadow("CP1")``, or ``.wait_for(…)``, ``.update(…)``.

        Args:
            charge_point_id: The Thing's name.
            name: A named shadow; "" for the classic one, where boots are reported.

        Raises, when awaited:
            NotFound: The charge point has none, e.g. because it never booted.
            AwsError: AWS refused.
        """
        self._require_open()
        return ShadowRequest(self._aws, charge_point_id, name, self.monitor)

    def monitor(self, *filters: str, limit: int = 10_000, reconnect: tuple[float, float] = (1, 10)) -> Monitor:
        """Watch MQTT topics; entered, e.g. ``async with stack.monitor("+/in", "+/out") as monitor``.

        On AWS it needs iot:DescribeEndpoint, iot:Connect, iot:Subscribe and iot:Receive.

        Args:
            *filters: Topic filters, with ``+`` for one level and ``#`` for the rest.
            limit: How many messages are kept.
            reconnect: Seconds to wait before a lost connection is opened again: the first wait, and the longest.
        """
        self._require_open()
        monitor = Monitor(self._aws.mqtt_endpoint, filters, limit=limit, reconnect=reconnect)
        self._watching.add(monitor)
        return monitor

    def rule(
        self,
        name: str,
        *,
        sql: str,
        table: str | None = None,
        queue: str | None = None,
        republish: str | None = None,
    ) -> Rule:
        """A topic rule with one action; awaited or entered, see :class:`~cpsim_kit.aws.rules.Rule`.

        Args:
            name: Letters, digits and underscores.
            sql: AWS IoT SQL.
            table: A DynamoDB table for the results, created where it is not there.
            queue: An SQS queue for them, created where it is not there.
            republish: A topic for them.
        """
        self._require_open()
        targets = {"table": table, "queue": queue, "republish": republish}
        return Rule(self._aws, self._cleanup.add, name, sql=sql, **targets, holders=self._rules)

    def message_processor(
        self,
        source: str | PathLike[str],
        *,
        tables: Iterable[str] | Mapping[str, str | Sequence[str]] = (),
        environment: Mapping[str, str] | None = None,
        function: str | None = None,
    ) -> MessageProcessor:
        """Your own message processor in the stack's Lambda function; awaited or entered.

            async with stack.message_processor("processor.py", tables=["BillsTable"]) as processor:
                ...
                print(await processor.log())

        See :class:`~cpsim_kit.aws.message_processor.MessageProcessor`. A local stack has such a function with
        ``csms="lambda"``.

        Args:
            source: The path of a file that ends with ``.py``, or the text of a module.
            tables: The DynamoDB tables that it needs: names, or names and the attributes of their keys. The key of the
                kit's own two is known; of others in a list it is ``chargePointId``. The function finds the name of
                TokensTable in the variable TOKENS_TABLE of its environment, and so on.
            environment: More variables for its environment.
            function: The function, if it is not the stack's message processor: its name, or how its logical id begins.

        Raises:
            ValueError: The source does not compile; the message has the line.
            NotFound: The stack has no such function.
        """
        self._require_open()
        return MessageProcessor(
            self._aws,
            self._deployment,
            self._cleanup.add,
            source,
            tables=tables,
            environment=environment,
            function=function,
            holders=self._processors,
            is_gone=lambda: self._has_died,
        )

    async def publish(self, topic: str, payload: str | bytes | dict[str, Any] | list[Any], *, qos: int = 1) -> None:
        """Publish an MQTT message by AWS IoT's HTTPS API.

        Args:
            topic: The topic, without wildcards.
            payload: Text or bytes as they are; a dict or list as JSON.
            qos: 0 or 1.

        Raises:
            AwsError: AWS refused.
        """
        self._require_open()
        body = json.dumps(payload) if isinstance(payload, dict | list) else payload
        await self._aws.call("iot-data.publish", topic=topic, qos=qos, payload=body)

    async def send(self, charge_point_id: str, payload: Any, *, timeout: float = 30) -> Any:
        """Send a CALL to a charge point as the CSMS does, over ``{id}/out``, and return its answer from ``{id}/in``.

        Args:
            charge_point_id: The charge point; it must be connected.
            payload: A ``call`` dataclass, e.g. ``ocpp.v201.call.Reset(type="Immediate")``.
            timeout: Seconds to wait for the answer.

        Returns:
            The ``call_result`` dataclass of the same name.

        Raises:
            CallTimeout: No answer; an unknown or unconnected id looks the same.
            CallFailed: The charge point answered CALLERROR.
            ProtocolViolation: The payload or the answer breaks the schema.
            AwsError: AWS refused.
        """
        self._require_open()
        return await self._caller.send(charge_point_id, payload, timeout)

    # -- Closing ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        try:
            await self.close()
        except Exception as left_behind:
            if error is None:
                raise
            error.add_note(str(left_behind))  # the body's own error goes first

    async def close(self) -> None:
        """Close its charge points, delete what this object created, newest first, and stop a local stack it started.

        Closing twice is harmless. Everything is tried before anything is raised.

        Raises:
            AwsError: Something could not be deleted; the message names it, so that you can delete it by hand.
            Exception: What one of its charge points or monitors raised when it was closed; the log has all of them.
        """
        if self._closing is None:
            self._closed = True
            self._leave()  # at once: a cell that opens a stack meanwhile gets another one
            self._closing = asyncio.create_task(self._close_all(), name=f"cpsim[{self.name}].close")
        elif self._closing.done():
            return
        await asyncio.shield(self._closing)  # a second call returns once the stack is closed

    def _leave(self) -> None:
        """Called before everything else when the stack closes."""

    async def _end(self) -> None:
        """Called when everything is closed and deleted."""

    @property
    def _has_died(self) -> bool:
        """Whether the stack has died, and everything that was created there with it."""
        return False

    async def _close_all(self) -> None:
        try:
            open_ones: list[Any] = [*self._stations, *self._charge_points, *self._watching, self._caller]
            ends = await asyncio.gather(*(one.close() for one in open_ones), return_exceptions=True)
            left_behind = await self._cleanup.run(is_gone=lambda: self._has_died)
        finally:
            self._aws.close()
            await self._end()
        faults = [end for end in ends if isinstance(end, Exception)]
        for one, end in zip(open_ones, ends, strict=True):
            if isinstance(end, Exception):
                logger.warning("%r did not close in good order: %r", one, end)
        for name, error in left_behind:
            logger.warning("could not delete %s: %s", name, error)
        if left_behind:
            names = "; ".join(f"{name} ({error})" for name, error in left_behind)
            raise AwsError(f"{self.name}: could not delete {names}", verb="close")
        if faults:
            raise faults[0]

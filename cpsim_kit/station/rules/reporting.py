"""Reports: puts what happened at the EVSEs into the queue of messages, each thing once. Pure: no clock, no I/O.

It decides nothing about a session; ``core`` does.
"""

from __future__ import annotations

import math
import random as random_module
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cpsim_kit.station.charging.evse import LiveEvse
from cpsim_kit.station.charging.meter import Reading, read, read_all
from cpsim_kit.station.charging.session import Row, Session
from cpsim_kit.station.charging.transaction import Report, Transaction
from cpsim_kit.station.rules.authorization import Authorization, IdToken
from cpsim_kit.station.rules.events import Answer, Outgoing
from cpsim_kit.station.rules.queue import MessageQueue

if TYPE_CHECKING:
    from cpsim_kit.station.device_model.variables import Variables
    from cpsim_kit.station.dialects import Dialect

__all__ = ["Reporter"]

_MAX_VALUES = 500  # in the last message; more would not fit into the 128 KiB of an MQTT message (J02.FR.20)

# Triggers whose message tells the new charging state too. After the others a second message tells it (E02.FR.17).
_WITH_STATE = frozenset({"ChargingStateChanged", "Deauthorized", "EVCommunicationLost"})

Refused = Callable[[Transaction, Authorization, str, float], None]


class Reporter:
    """Makes the messages of one station.

    Args:
        dialect: Puts them into words.
        variables: The station's variables.
        random: Makes the transactions' ids.
        on_answer: Called with each answer about a token: the token, what the CSMS says, and the moment.
        on_refused: Called when the CSMS refuses the token of a transaction: that, the authorization, the status, when.

    Attributes:
        queue: The messages that are not answered yet.
        transactions: All transactions, oldest first.
        cause: The event that the next messages belong to.
        on_start: Called with the EVSE of a transaction that starts, before anything is said of it.
    """

    __slots__ = (
        "_dialect",
        "_on_answer",
        "_on_refused",
        "_random",
        "_variables",
        "cause",
        "on_start",
        "queue",
        "transactions",
    )

    def __init__(
        self,
        dialect: Dialect,
        variables: Variables,
        random: random_module.Random,
        on_answer: Callable[[IdToken, Answer, float], None],
        on_refused: Refused,
    ) -> None:
        self._dialect = dialect
        self._variables = variables
        self._random = random
        self._on_answer = on_answer
        self._on_refused = on_refused
        self.queue = MessageQueue(variables)
        self.transactions: list[Transaction] = []
        self.cause: object = None
        self.on_start: Callable[[LiveEvse, float], object] | None = None

    def send(
        self,
        build: Callable[[], object],
        then: Callable[[Answer, float], None] | None = None,
        session: Session | None = None,
        *,
        lost: Callable[[float], None] | None = None,
        report: Report | None = None,
        attempts: int = 0,
    ) -> None:
        """Put a message into the queue."""
        self.queue.add(Outgoing(build, then, self.cause, session, lost=lost, report=report, attempts=attempts))

    def requeue(self, report: Report, attempts: int) -> None:
        """Put a transaction message of before into the queue."""
        then = partial(self._answered, report.transaction, report.token, None)
        self.send(partial(self._dialect.transaction_message, report), then, report=report, attempts=attempts)

    # -- Connector status ---------------------------------------------------------------------------------------------

    def status(self, evse: LiveEvse, now: float, *, anyway: bool = False) -> None:
        """Report the connector's status if the CSMS does not know it, or anyway; never one of an offline time."""
        if not evse.id or not self.queue.is_online:
            return
        status = self._dialect.connector_status(evse)
        if status != evse.reported_status or anyway:
            evse.reported_status = status
            build = partial(self._dialect.status_notification, evse.id, status, evse.fault, evse.is_ev_gone, now)
            self.send(build, session=evse.session, lost=partial(self._status_lost, evse))

    def current_status(self, evse: LiveEvse, now: float) -> object:
        """StatusNotification of the connector as it is now."""
        status = self._dialect.connector_status(evse)
        return self._dialect.status_notification(evse.id, status, evse.fault, evse.is_ev_gone, now)

    @staticmethod
    def _status_lost(evse: LiveEvse, _now: float) -> None:
        """The CSMS may not know the status."""
        evse.reported_status = ""

    def status_before(self, evse: LiveEvse, now: float) -> None:
        """Report it where the version reports a connector before the transaction."""
        if self._dialect.reports_status_first:
            self.status(evse, now)

    # -- Transactions -------------------------------------------------------------------------------------------------

    def start(self, evse: LiveEvse, now: float, trigger: str) -> None:
        """Start a transaction (E01)."""
        transaction = Transaction(self._new_id(), evse.id, now)
        evse.transaction = transaction
        self.transactions.append(transaction)
        if evse.session is not None:
            evse.session.transactions.append(transaction)
        if evse.id:
            transaction.start_wh = evse.reading_wh(now)
        self.schedule(transaction, now)
        if self.on_start is not None:
            self.on_start(evse, now)
        state = evse.charging_state
        before = state if trigger == "ChargingStateChanged" else "Idle" if evse.vehicle is None else "EVConnected"
        self._emit(evse, now, "Started", trigger, before)
        if state != before:
            self._emit(evse, now, "Updated", "ChargingStateChanged", state)

    def update(self, evse: LiveEvse, now: float, trigger: str, token: IdToken | None = None) -> None:
        """Report an event in a running transaction, and a change of the charging state that came with it."""
        transaction = evse.transaction
        assert transaction is not None
        state = evse.charging_state
        if trigger in _WITH_STATE:
            if state != transaction.charging_state or trigger != "ChargingStateChanged":
                self._emit(evse, now, "Updated", trigger, state, token=token)
            return
        first = "EVConnected" if trigger == "CablePluggedIn" else transaction.charging_state
        self._emit(evse, now, "Updated", trigger, first, token=token)
        if state != first:
            self._emit(evse, now, "Updated", "ChargingStateChanged", state)

    def report_now(self, evse: LiveEvse, now: float) -> None:
        """Report the running transaction as it is, as the CSMS asked for it (F06.FR.07)."""
        assert evse.transaction is not None
        measurands = self._variables.value("SampledDataCtrlr.TxUpdatedMeasurands")
        readings = [read(evse, now, "Trigger", measurands)] if evse.transaction.begin is not None else []
        self._emit(evse, now, "Updated", "Trigger", evse.charging_state, readings=readings)

    def end(
        self, evse: LiveEvse, now: float, trigger: str, state: str, reason: str, token: IdToken | None = None
    ) -> None:
        """End the running transaction (E06)."""
        transaction = evse.transaction
        assert transaction is not None
        readings = transaction.readings
        if transaction.begin is not None:
            measurands = self._sampled("TxEndedMeasurands")
            readings.append(read(evse, now, "Transaction.End", measurands))
        transaction.end = now
        if evse.id:
            transaction.end_wh = evse.reading_wh(now)
        if trigger == "EVCommunicationLost":  # the last step of a stop that began before
            reason = transaction.stopped_by or reason
        self._emit(evse, now, "Ended", trigger, state, reason=reason, token=token, readings=readings)
        transaction.readings = []
        evse.transaction = evse.ready_since = None

    def _emit(
        self,
        evse: LiveEvse,
        now: float,
        kind: str,
        trigger: str,
        state: str,
        *,
        reason: str | None = None,
        token: IdToken | None = None,
        readings: Sequence[Reading] = (),
    ) -> None:
        """Put one transaction message into the queue, with the fields that the CSMS does not know yet."""
        transaction = evse.transaction
        assert transaction is not None
        report = Report(kind, trigger, now, transaction, transaction.seq_no, stopped_reason=reason, token=token)
        if kind == "Started" or trigger in ("ChargingStateChanged", "Trigger") or state != transaction.charging_state:
            report.charging_state = transaction.charging_state = state
        authorization = evse.authorization
        if authorization is not None and not authorization.is_reported and kind != "Ended":
            authorization.is_reported = True
            report.token = authorization.token
            transaction.token = transaction.token or authorization.token
            if authorization.is_remote:
                report.trigger, report.remote_start_id = "RemoteStart", authorization.remote_start_id
        if authorization is not None and authorization.reservation_id is not None:  # H01.FR.15
            report.reservation_id, authorization.reservation_id = authorization.reservation_id, None
        if evse.vehicle is not None:
            self._add_connection(evse, now, report)
        if kind == "Started" and transaction.begin is not None:
            readings = [transaction.begin]
            transaction.is_begin_reported = True
        elif transaction.begin is not None and not transaction.is_begin_reported and (state == "Charging" or readings):
            # When charging starts (E02.FR.21), and never after other readings.
            readings = [transaction.begin, *readings] if kind == "Updated" else readings
            transaction.is_begin_reported = True
        report.readings = [reading for reading in readings if reading.values]
        if not self._dialect.can_report(report):
            return
        transaction.seq_no += 1
        asked = None if report.token is None or kind == "Ended" else authorization
        then = partial(self._answered, transaction, report.token, asked)
        self.send(partial(self._dialect.transaction_message, report), then, evse.session, report=report)

    def _add_connection(self, evse: LiveEvse, now: float, report: Report) -> None:
        transaction = report.transaction
        if not transaction.is_evse_reported:
            transaction.is_evse_reported = True
            report.evse_id, report.cable_a = evse.id, evse.cable_a
        if transaction.begin is None:
            started = self._sampled("TxStartedMeasurands")
            ended = self._sampled("TxEndedMeasurands")
            transaction.begin = read(evse, now, "Transaction.Begin", started)
            transaction.readings.append(read(evse, now, "Transaction.Begin", ended))
            if not transaction.evse_id:
                transaction.evse_id, transaction.start_wh = evse.id, evse.reading_wh(now)
        if evse.phases_used and evse.phases_used != transaction.phases_used and report.charging_state == "Charging":
            report.phases_used = transaction.phases_used = evse.phases_used

    def _answered(
        self, transaction: Transaction, token: IdToken | None, asked: Authorization | None, answer: Answer, now: float
    ) -> None:
        if answer.transaction_id is not None:
            transaction.csms_id = answer.transaction_id
        transaction.answered += 1
        for register_wh, is_start in self._dialect.reported_registers(answer.to.payload):
            if is_start or math.isnan(transaction.reported_start_wh):
                transaction.reported_start_wh = register_wh
            transaction.reported_end_wh = register_wh
        if answer.info is None or token is None:
            return
        self._on_answer(token, answer, now)
        if asked is None:
            return
        if not answer.info.is_accepted:
            self._on_refused(transaction, asked, answer.info.status, now)
        elif answer.info.group:  # nobody may have been asked about the token before (C09.FR.03, .12)
            asked.group = answer.info.group

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    # -- Meter values -------------------------------------------------------------------------------------------------

    def schedule(self, transaction: Transaction, now: float, *, updated: bool = True, ended: bool = True) -> None:
        """Begin the intervals of a transaction's meter values, as the variables say now: both of them, or one."""
        value = self._variables.value
        is_on = value("SampledDataCtrlr.Enabled")
        if updated:
            transaction.sample_at = now + ((is_on and value("SampledDataCtrlr.TxUpdatedInterval")) or _NEVER)
        if ended:
            transaction.ended_sample_at = now + ((is_on and value("SampledDataCtrlr.TxEndedInterval")) or _NEVER)

    def _sampled(self, variable: str) -> Sequence[str]:
        """The measurands of a variable of SampledDataCtrlr; none while that is not enabled."""
        value = self._variables.value
        return value(f"SampledDataCtrlr.{variable}") if value("SampledDataCtrlr.Enabled") else ()

    def sample(self, evse: LiveEvse, now: float) -> None:
        """Report the periodic meter values that are due (J02.FR.11)."""
        transaction = evse.transaction
        assert transaction is not None
        value = self._variables.value
        if transaction.ended_sample_at <= now:
            transaction.ended_sample_at += value("SampledDataCtrlr.TxEndedInterval") or _NEVER
            self._keep(transaction, read(evse, now, "Sample.Periodic", value("SampledDataCtrlr.TxEndedMeasurands")))
        if transaction.sample_at <= now:
            transaction.sample_at += value("SampledDataCtrlr.TxUpdatedInterval") or _NEVER
            reading = read(evse, now, "Sample.Periodic", value("SampledDataCtrlr.TxUpdatedMeasurands"))
            if transaction.begin is not None and reading.values:  # before that the EVSE is not known
                state = transaction.charging_state
                self._emit(evse, now, "Updated", "MeterValuePeriodic", state, readings=[reading])
            record(evse, now)

    def sample_aligned(self, evses: Sequence[LiveEvse], now: float) -> None:
        """Report the clock-aligned meter values of all EVSEs, and of the station as EVSE 0 (J01.FR.14, .20, .22)."""
        value = self._variables.value
        measurands = value("AlignedDataCtrlr.Measurands")
        if value("AlignedDataCtrlr.SendDuringIdle") and any(evse.transaction is not None for evse in evses):
            for evse in evses:
                record(evse, now)
            return
        self._send_meter_values(0, read_all(evses, now, measurands))
        for evse in evses:
            transaction = evse.transaction
            reading = read(evse, now, "Sample.Clock", measurands)
            if transaction is None:
                self._send_meter_values(evse.id, reading)
            elif transaction.begin is not None and reading.values:
                state = transaction.charging_state
                self._emit(evse, now, "Updated", "MeterValueClock", state, readings=[reading])
            record(evse, now)

    def sample_aligned_for_end(self, evses: Sequence[LiveEvse], now: float) -> None:
        """Keep clock-aligned meter values for the last message of each transaction."""
        measurands = self._variables.value("AlignedDataCtrlr.TxEndedMeasurands")
        for evse in evses:
            if evse.transaction is not None and measurands:
                self._keep(evse.transaction, read(evse, now, "Sample.Clock", measurands))

    def _send_meter_values(self, evse_id: int, reading: Reading) -> None:
        if reading.values:
            self.send(partial(self._dialect.meter_values, evse_id, reading))

    @staticmethod
    def _keep(transaction: Transaction, reading: Reading) -> None:
        """Keep a reading for the last message; when they do not fit, every second one, and later ones as rarely."""
        readings = transaction.readings
        if transaction.begin is None or reading.at < readings[-1].at + transaction.kept_interval:
            return
        readings.append(reading)
        if len(readings) > 2 and sum(len(each.values) for each in readings) > _MAX_VALUES:
            del readings[1::2]
            transaction.kept_interval = 0.99 * (readings[-1].at - readings[0].at) / (len(readings) - 1)


_NEVER = float("inf")


def record(evse: LiveEvse, now: float) -> None:
    """Add a row to the session's own record; where the state changed, also one of the moment before the change."""
    session = evse.session
    if session is None or not session.keeps_rows:
        return
    row = Row(
        now,
        evse.fault or evse.charging_state,
        evse.demand_kw(now),
        evse.limit_kw,
        evse.offered_kw,
        evse.power_kw(now),
        evse.register_wh(now) / 1000,
        evse.soc(now),
        evse.limit_by,
    )
    rows = session.rows
    if rows:
        last = rows[-1]
        if last == row:
            return
        if last.at < now and (last.state, last.offered_kw) != (row.state, row.offered_kw):
            power_kw = evse.power_before_kw
            demand_kw = power_kw if last.state == "Charging" and power_kw < last.offered_kw else last.demand_kw
            rows.append(
                last._replace(
                    at=now, demand_kw=demand_kw, power_kw=power_kw, energy_kwh=row.energy_kwh, soc=evse.soc_before
                )
            )
    rows.append(row)

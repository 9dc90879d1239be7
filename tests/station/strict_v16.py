"""The rules of OCPP 1.6 for what a charge point says: connector states, transactions, meter values.

No sockets, and nothing of cpsim_kit. The numbers are the sections of OCPP 1.6 edition 2, with errata. Milliseconds
and Z in each timestamp are stricter than OCPP: they say what the kit's own station does.

What happened while a charge point was offline comes late or not at all: statuses of the past are not sent, and
transactions' messages may come behind other ones (3.7, 4.9). After a new connection the first status of a connector
may be any, and StartTransaction is not compared with it until the connector has been Available or Preparing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from strict_rules import REGISTER, Payload, Rules, Sample, Session, moment

MOVES = {  # the table of 4.9, rows A to I; staying in a state is no move
    "Available": {"Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Reserved", "Unavailable", "Faulted"},
    "Preparing": {"Available", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Faulted"},
    "Charging": {"Available", "SuspendedEV", "SuspendedEVSE", "Finishing", "Unavailable", "Faulted"},
    "SuspendedEV": {"Available", "Charging", "SuspendedEVSE", "Finishing", "Unavailable", "Faulted"},
    "SuspendedEVSE": {"Available", "Charging", "SuspendedEV", "Finishing", "Unavailable", "Faulted"},
    "Finishing": {"Available", "Preparing", "Unavailable", "Faulted"},
    "Reserved": {"Available", "Preparing", "Unavailable", "Faulted"},
    "Unavailable": {"Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Faulted"},
    "Faulted": {
        "Available",
        "Preparing",
        "Charging",
        "SuspendedEV",
        "SuspendedEVSE",
        "Finishing",
        "Reserved",
        "Unavailable",
    },
}
WHOLE_CHARGE_POINT = {"Available", "Unavailable", "Faulted"}  # what connector 0 may be
WITH_EV_COMMUNICATION_ERROR = {"Preparing", "SuspendedEV", "SuspendedEVSE", "Finishing"}
TRANSACTION_DATA_CONTEXTS = {"Transaction.Begin", "Transaction.End", "Sample.Periodic", "Sample.Clock"}
NO_ID = -1  # of a transaction whose StartTransaction had no answer (errata sheet, 3.18)


@dataclass
class Transaction:
    """What is known of a transaction.

    Attributes:
        is_remote_stop: The CSMS asked for its end, and the charge point accepted.
    """

    id: int
    connector_id: int
    id_tag: str
    meter_start: int
    started_at: datetime | None
    last_at: datetime | None
    ended: bool = False
    is_remote_stop: bool = False


def samples(meter_values: list[dict[str, Any]] | None) -> list[Sample]:
    """The sampled values of MeterValues or transactionData, in their order."""
    found = []
    for meter_value in meter_values or ():
        at = moment(meter_value["timestamp"])
        for value in meter_value["sampled_value"]:
            is_register = value.get("measurand", REGISTER) == REGISTER and "phase" not in value
            is_outlet = value.get("location", "Outlet") == "Outlet" and value.get("format", "Raw") == "Raw"
            wh = None
            if is_register and is_outlet:
                wh = float(value["value"]) * (1000 if value.get("unit") == "kWh" else 1)
            found.append(Sample(at, value.get("context", "Sample.Periodic"), wh))
    return found


class RulesV16(Rules):
    """What a charge point of OCPP 1.6 may still say.

    Args:
        transaction_ids: The ids for its transactions.

    Attributes:
        started: The transaction that the last StartTransaction began; None where it broke a rule.
    """

    register_tolerance = 1.0  # meterStart and meterStop are integers, sampled values are not
    checks: ClassVar = {
        "Authorize": "_check_authorize",
        "MeterValues": "_check_meter_values",
        "StartTransaction": "_check_start",
        "StatusNotification": "_check_status",
        "StopTransaction": "_check_stop",
    }

    def __init__(self, *args: Any, transaction_ids: Iterator[int] | None = None) -> None:
        super().__init__(*args)
        self.started: Transaction | None = None
        self._transaction_ids = transaction_ids or itertools.count(1)
        self._statuses: dict[int, dict[str, Any]] = {}
        self._transactions: dict[int, Transaction] = {}
        self._seen: set[int] = set()  # connectors that had a status at any time
        self._maybe_offline: set[int] = set()  # connectors that a transaction may have started on while offline

    def connected(self) -> None:
        self._statuses.clear()
        self._maybe_offline |= self._seen

    def has_status(self, payload: Payload) -> bool:
        """Whether a StatusNotification, as it came, says again what is known."""
        return self._statuses.get(payload["connectorId"], {}).get("status") == payload["status"]

    def forget_status(self, place: int) -> None:
        """The CSMS has asked for a status: it may be what it was."""
        self._statuses.pop(place, None)

    def booted(self) -> None:
        self._statuses.clear()

    def remote_stop_accepted(self, transaction_id: int) -> None:
        """The charge point has promised to stop a transaction."""
        transaction = self._transactions.get(transaction_id)
        if transaction is not None:
            transaction.is_remote_stop = True

    # -- Connectors and tokens ----------------------------------------------------------------------------------------

    def _check_status(self, payload: Payload) -> None:
        place, status = payload["connector_id"], payload["status"]
        self._check_status_time(place, payload)
        if payload["error_code"] == "EVCommunicationError" and status not in WITH_EV_COMMUNICATION_ERROR:
            self._report("error_code", f"connector {place}: EVCommunicationError in {status} (4.9)")
        if place == 0:
            if status not in WHOLE_CHARGE_POINT:
                self._report("status_connector_0", f"the whole charge point cannot be {status} (4.9)")
            return
        said = {key: value for key, value in payload.items() if key != "timestamp"}
        before = self._statuses.get(place)
        if before == said:
            self._report("status_repeated", f"connector {place} was {status} already")
        elif before is not None and status != before["status"] and status not in MOVES[before["status"]]:
            self._report("status_order", f"connector {place}: {before['status']} to {status} (4.9)")
        if status in ("Unavailable", "Faulted"):  # 5.13: its reservation has ended
            self.reservations = {key: each for key, each in self.reservations.items() if each.place != place}
        if status == "Available":
            self._release(place)
        self._statuses[place] = said
        self._seen.add(place)
        if status in ("Available", "Preparing"):
            self._maybe_offline.discard(place)

    def _check_authorize(self, payload: Payload) -> None:
        for transaction in self._transactions.values():
            if not transaction.ended and transaction.id_tag == payload["id_tag"]:
                text = f"{transaction.id_tag} started transaction {transaction.id}, and may stop it (4.1)"
                self._report("authorize_needless", text)

    # -- Transactions -------------------------------------------------------------------------------------------------

    def _check_start(self, payload: Payload) -> None:
        self.started = None
        place, id_tag, at = payload["connector_id"], payload["id_tag"], moment(payload["timestamp"])
        status = self._statuses.get(place, {}).get("status")
        if place < 1:
            self._report("start_connector_0", f"no transaction can run on connector {place} (6.45)")
        elif any(each.connector_id == place and not each.ended for each in self._transactions.values()):
            self._report("start_busy", f"connector {place} has a transaction already")
        elif status != "Preparing" and place not in self._maybe_offline:
            self._report("start_not_preparing", f"connector {place} is {status}, not Preparing (4.9)")
        if id_tag in self.refused_tokens:
            self._report("refused_token", f"{id_tag} was refused by Authorize")
        self._check_reservation(payload.get("reservation_id"), place, id_tag, at)
        self._check_register(place, Sample(at, "Transaction.Begin", payload["meter_start"]))
        if self._found:
            return
        identity = next(self._transaction_ids)
        self.started = Transaction(identity, place, id_tag, payload["meter_start"], at, at)
        self._transactions[identity] = self.started
        meter = float(payload["meter_start"])
        self._ledger[identity] = Session(self.charge_point_id, identity, place, id_tag, meter, meter)

    def _check_meter_values(self, payload: Payload) -> None:
        identity, place = payload.get("transaction_id"), payload["connector_id"]
        found = samples(payload["meter_value"])
        if identity in (None, NO_ID):
            self._check_sample_times(found, None, None)
        else:
            transaction = self._transactions.get(identity)
            if transaction is None:
                self._report("meter_values_unknown_transaction", f"nobody gave the transactionId {identity}")
                return
            if transaction.ended:
                self._report("meter_values_after_stop", f"transaction {identity} has stopped")
                return
            if transaction.connector_id != place:
                text = f"transaction {identity} runs on connector {transaction.connector_id}, not {place}"
                self._report("meter_values_wrong_connector", text)
                return
            self._check_time_of(transaction, [sample.at for sample in found])
        for sample in found:
            self._check_register(place, sample)
            if identity not in (None, NO_ID) and sample.register_wh is not None:
                self._ledger[identity].end_wh = sample.register_wh

    def _check_time_of(self, transaction: Transaction, times: list[datetime | None]) -> None:
        for at in times:
            if at is not None and transaction.last_at is not None:
                if at < transaction.last_at:
                    self._report("time_backwards", f"transaction {transaction.id}: {at} after {transaction.last_at}")
                transaction.last_at = max(at, transaction.last_at)

    def _check_stop(self, payload: Payload) -> None:
        if payload["transaction_id"] == NO_ID:
            return
        transaction = self._transactions.get(payload["transaction_id"])
        if transaction is None:
            self._report("stop_unknown_transaction", f"nobody gave the transactionId {payload['transaction_id']}")
            return
        if transaction.ended:
            self._report("stop_twice", f"transaction {transaction.id} has stopped already")
            return
        at, meter_stop, id_tag = moment(payload["timestamp"]), payload["meter_stop"], payload.get("id_tag")
        transaction.ended = True
        session = self._ledger[transaction.id]
        session.ended, session.end_wh = True, float(meter_stop)
        self._check_time_of(transaction, [at])
        if id_tag is not None and not self._same_group(id_tag, transaction.id_tag):
            self._report("stop_token_foreign", f"{id_tag} is not of {transaction.id_tag}'s group (4.10)")
        if transaction.is_remote_stop and payload.get("reason") != "Remote":
            self._report("stop_reason", f"transaction {transaction.id}: {payload.get('reason')}, not Remote (5.12)")
        if meter_stop < transaction.meter_start:
            self._report("stop_below_start", f"meterStop {meter_stop} after meterStart {transaction.meter_start}")
        else:
            self._check_register(transaction.connector_id, Sample(at, "Transaction.End", meter_stop))
        self._check_transaction_data(transaction, samples(payload.get("transaction_data")), at, meter_stop)

    def _check_transaction_data(
        self, transaction: Transaction, found: list[Sample], at: datetime | None, meter_stop: int
    ) -> None:
        contexts = [sample.context for sample in found]
        strange = set(contexts) - TRANSACTION_DATA_CONTEXTS
        if strange:
            self._report("transaction_data_context", f"{strange} in transactionData (4.10)")
        moments = [context for context, _ in itertools.groupby(contexts)]
        if "Transaction.Begin" in moments[1:] or "Transaction.End" in moments[:-1]:
            self._report("transaction_data_order", f"Transaction.Begin is first, Transaction.End last: {moments}")
        self._check_sample_times(found, transaction.started_at, at)
        ends = {"Transaction.Begin": transaction.meter_start, "Transaction.End": meter_stop}
        for sample in found:
            meter = ends.get(sample.context)
            if meter is None:
                self._check_register(transaction.connector_id, sample)
            elif sample.register_wh is not None and abs(sample.register_wh - meter) > self.register_tolerance:
                text = f"{sample.context} is {sample.register_wh:g} Wh, and meterStart or meterStop {meter}"
                self._report("transaction_data_register", text)

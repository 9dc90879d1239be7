"""The rules of OCPP 2.0.1 for what a charging station says: transactions, connector states, meter values.

No sockets, and nothing of cpsim_kit. The numbers are those of OCPP 2.0.1 part 2, edition 3, with errata. Some rules
are stricter than OCPP, which recommends or leaves a choice; they say what the kit's own station does:
milliseconds and Z in each timestamp, a seqNo that begins at 0, messages in the order of time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from strict_rules import REGISTER, Payload, Rules, Sample, Session, moment

# A connector's states (StatusNotification, B01.FR.05, G01). OCPP 2.0.1 has no table of moves: this one leaves out what
# cannot happen. No reservation comes upon an occupied, unavailable or faulted connector (H01).
MOVES = {
    "Available": {"Occupied", "Reserved", "Unavailable", "Faulted"},
    "Occupied": {"Available", "Unavailable", "Faulted"},
    "Reserved": {"Available", "Occupied", "Unavailable", "Faulted"},
    "Unavailable": {"Available", "Occupied", "Faulted"},
    "Faulted": {"Available", "Occupied", "Unavailable"},
}
CABLE_STATES = {"EVConnected", "Charging", "SuspendedEV", "SuspendedEVSE"}  # no such chargingState without an EVSE
ENDS_AUTHORIZATION = {"StopAuthorized", "RemoteStop", "Deauthorized", "EVConnectTimeout", "EVCommunicationLost"}
REASONS: dict[str, set[str | None]] = {  # what stopped the transaction, by the trigger of its last event
    "RemoteStop": {"Remote"},
    "Deauthorized": {"DeAuthorized"},
    "EVConnectTimeout": {"Timeout"},
    "StopAuthorized": {"Local", "MasterPass", None},
}


@dataclass
class Transaction:
    """What is known of a transaction.

    Attributes:
        once: The fields sent that are sent once.
        token: The one that authorized it last.
        authorized: It needs no other token.
        may_be_stopped: A token may still end the authorization; one that the CSMS has refused in between, too.
        stopped_by_driver: A card has ended the authorization.
        is_unknown: It was never Started, so that its events are not looked at.
    """

    id: str
    started_at: datetime | None
    last_at: datetime | None
    next_seq_no: int = 0
    ended: bool = False
    evse_id: int | None = None
    once: set[str] = field(default_factory=set)
    token: str | None = None
    authorized: bool = False
    may_be_stopped: bool = False
    stopped_by_driver: bool = False
    charging_state: str | None = None
    has_values: bool = False
    is_unknown: bool = False


def samples(meter_values: list[dict[str, Any]] | None) -> list[Sample]:
    """The sampled values of MeterValues or TransactionEvent, in their order."""
    found = []
    for meter_value in meter_values or ():
        at = moment(meter_value["timestamp"])
        for value in meter_value["sampled_value"]:
            unit = value.get("unit_of_measure", {})
            wh = value["value"] * 10 ** unit.get("multiplier", 0) * (1000 if unit.get("unit") == "kWh" else 1)
            is_register = value.get("measurand", REGISTER) == REGISTER and "phase" not in value
            is_outlet = value.get("location", "Outlet") == "Outlet"
            found.append(Sample(at, value.get("context", "Sample.Periodic"), wh if is_register and is_outlet else None))
    return found


class RulesV201(Rules):
    """What a charging station of OCPP 2.0.1 may still say.

    Args:
        remote_start_ids: Those of the RequestStartTransactions sent; may grow.
    """

    register_tolerance = 1e-6
    checks: ClassVar = {
        "Authorize": "_check_authorize",
        "MeterValues": "_check_meter_values",
        "ReservationStatusUpdate": "_check_reservation_status",
        "StatusNotification": "_check_status",
        "TransactionEvent": "_check_transaction_event",
    }

    def __init__(self, *args: Any, remote_start_ids: set[int]) -> None:
        super().__init__(*args)
        self._remote_start_ids = remote_start_ids
        self._statuses: dict[tuple[int, int], str] = {}
        self._reported: set[tuple[int, int]] = set()  # the connectors whose status was sent since the boot
        self._transactions: dict[str, Transaction] = {}
        self._told_before: set[int] = set()  # ends of reservations that were told on earlier connections
        self._told_now: set[int] = set()  # and on this one

    def connected(self) -> None:
        self._statuses.clear()
        self._told_before |= self._told_now
        self._told_now.clear()

    def has_status(self, payload: Payload) -> bool:
        """Whether a StatusNotification, as it came, says again what is known."""
        return self._statuses.get((payload["evseId"], payload["connectorId"])) == payload["connectorStatus"]

    def forget_status(self, place: int) -> None:
        """The CSMS has asked for a status: it may be what it was."""
        self._statuses = {key: status for key, status in self._statuses.items() if key[0] != place}

    def booted(self) -> None:
        self._statuses.clear()
        self._reported.clear()

    def refused_in_transaction(self, transaction_id: str) -> None:
        """The CSMS has answered a TransactionEvent that its token may not charge."""
        self._transactions[transaction_id].authorized = False

    # -- Connectors, tokens, meters -----------------------------------------------------------------------------------

    def _check_status(self, payload: Payload) -> None:
        place, status = (payload["evse_id"], payload["connector_id"]), payload["connector_status"]
        if 0 in place:
            self._report("status_connector_0", f"a status is a connector's, and there is none {place}")
            return
        before = self._statuses.get(place)
        if before == status:
            self._report("status_repeated", f"connector {place} was {status} already")
        elif before is not None and status not in MOVES[before]:
            self._report("status_order", f"connector {place}: {before} to {status}")
        if status == "Available":
            self._release(payload["evse_id"])
        self._statuses[place] = status
        self._reported.add(place)
        self._check_status_time(place, payload)

    def _check_authorize(self, payload: Payload) -> None:
        token = payload["id_token"]["id_token"]
        for transaction in self._transactions.values():
            if transaction.authorized and not transaction.ended and transaction.token == token:
                self._report("authorize_needless", f"{token} authorizes transaction {transaction.id} (E07.FR.01)")

    def _check_reservation_status(self, payload: Payload) -> None:
        number = payload["reservation_id"]
        is_told_again = number in self._told_before
        self._told_now.add(number)
        if self.reservations.pop(number, None) is None and not is_told_again:
            text = f"reservation {number} was not accepted, or has ended already"
            self._report("reservation_status_unknown", text)

    def _check_meter_values(self, payload: Payload) -> None:
        evse_id = payload["evse_id"]
        found = samples(payload["meter_value"])
        if self._open_on(evse_id) is not None:
            contexts = {sample.context for sample in found} - {"Sample.Clock", "Trigger"}
            if contexts:
                self._report("meter_values_in_transaction", f"EVSE {evse_id}: {contexts} outside TransactionEvent")
        for sample in found:
            self._check_register(evse_id, sample)

    def _open_on(self, evse_id: int) -> Transaction | None:
        for transaction in self._transactions.values():
            if transaction.evse_id == evse_id and not transaction.ended:
                return transaction
        return None

    # -- Transactions -------------------------------------------------------------------------------------------------

    def _check_transaction_event(self, payload: Payload) -> None:
        transaction = self._find_transaction(payload)
        if transaction is None:
            return
        self._check_sequence(transaction, payload)
        self._check_sent_once(transaction, payload)
        self._check_token(transaction, payload)
        self._check_charging_state(transaction, payload)
        self._check_values(transaction, payload)
        self._check_stopped_reason(transaction, payload)
        session = self._ledger[transaction.id]
        session.place, session.id_token = transaction.evse_id, transaction.token or session.id_token
        transaction.ended = session.ended = payload["event_type"] == "Ended"

    def _find_transaction(self, payload: Payload) -> Transaction | None:
        """The event's transaction; None where the event is not one of it, and nothing else is worth a look."""
        identity, event = payload["transaction_info"]["transaction_id"], payload["event_type"]
        known = self._transactions.get(identity)
        if known is not None and event == "Started":
            rule = "transaction_id_reused" if known.ended else "started_twice"
            self._report(rule, f"{identity} was started already (E01.FR.08)")
            return None
        if known is not None and known.ended:
            self._report("after_ended", f"{event} of {identity}, which has ended")
            return None
        if known is None:
            at = moment(payload["timestamp"])
            known = self._transactions[identity] = Transaction(identity, at, at, is_unknown=event != "Started")
            self._ledger[identity] = Session(self.charge_point_id, identity)
            if known.is_unknown:
                self._report("started_first", f"{event} of {identity}, which was not started")
        if known.is_unknown:
            known.ended = self._ledger[identity].ended = event == "Ended"
            return None
        return known

    def _check_sequence(self, transaction: Transaction, payload: Payload) -> None:
        number, expected = payload["seq_no"], transaction.next_seq_no
        if number != expected:
            rule = "seq_no_start" if payload["event_type"] == "Started" else ""
            rule = rule or ("seq_no_repeated" if number < expected else "seq_no_gap")
            self._report(rule, f"{transaction.id}: seqNo {number}, expected {expected} (part 2, E, 1.3.2.1)")
        transaction.next_seq_no = max(expected, number + 1)
        at = moment(payload["timestamp"])
        if at is not None and transaction.last_at is not None:
            if at < transaction.last_at:
                self._report("time_backwards", f"{transaction.id}: {at} after {transaction.last_at}")
            transaction.last_at = max(at, transaction.last_at)

    def _check_sent_once(self, transaction: Transaction, payload: Payload) -> None:
        evse, remote_start_id = payload.get("evse"), payload["transaction_info"].get("remote_start_id")
        fields = {
            "evse": evse,
            "reservation_id": payload.get("reservation_id"),
            "remote_start_id": remote_start_id,
        }
        for name, value in fields.items():
            if value is None:
                continue
            if name in transaction.once:
                self._report(f"{name}_twice", f"{transaction.id}: {name} {value} was sent already")
            transaction.once.add(name)
        if evse is not None:
            if "connector_id" not in evse:
                self._report("evse_without_connector", f"{transaction.id}: {evse} (E01.FR.16)")
            elif (evse["id"], evse["connector_id"]) not in self._reported:
                self._report("status_missing", f"{transaction.id}: no status of {evse} since the boot (B01.FR.05)")
            other = self._open_on(evse["id"])
            if other is not None and other is not transaction:
                self._report("evse_busy", f"EVSE {evse['id']}: {transaction.id} beside {other.id} (E01.FR.14)")
            transaction.evse_id = evse["id"]
        is_remote = payload["trigger_reason"] == "RemoteStart"
        if is_remote != (remote_start_id is not None):
            self._report("remote_start_trigger", f"{transaction.id}: RemoteStart and remoteStartId go together (F02)")
        elif remote_start_id is not None and remote_start_id not in self._remote_start_ids:
            self._report("remote_start_id_unknown", f"{transaction.id}: nobody asked with {remote_start_id}")

    def _check_token(self, transaction: Transaction, payload: Payload) -> None:
        trigger, event = payload["trigger_reason"], payload["event_type"]
        token = payload["id_token"]["id_token"] if "id_token" in payload else None
        if trigger == "Authorized" and token is None:
            self._report("authorized_without_token", f"{transaction.id}: Authorized by no idToken (E02.FR.01)")
        if token is not None and trigger == "StopAuthorized":
            if not transaction.may_be_stopped:
                self._report("id_token_twice", f"{transaction.id}: {token} stops what was not authorized any more")
            elif not self._same_group(token, transaction.token):
                self._report("stop_token_foreign", f"{transaction.id}: {token} is not of {transaction.token}'s group")
        elif token is not None:
            if transaction.authorized or event == "Ended":
                self._report("id_token_twice", f"{transaction.id}: {token}, authorized by {transaction.token} before")
            elif token in self.refused_tokens:
                self._report("refused_token", f"{transaction.id}: {token} was refused by Authorize")
            at = moment(payload["timestamp"])
            self._check_reservation(payload.get("reservation_id"), transaction.evse_id, token, at)
            transaction.token, transaction.stopped_by_driver = token, False
            transaction.authorized = transaction.may_be_stopped = True
        if trigger in ENDS_AUTHORIZATION:
            transaction.authorized = transaction.may_be_stopped = False
            transaction.stopped_by_driver |= trigger == "StopAuthorized"

    def _check_charging_state(self, transaction: Transaction, payload: Payload) -> None:
        state = payload["transaction_info"].get("charging_state")
        if state is None:
            if payload["event_type"] == "Started":
                self._report("started_without_charging_state", f"{transaction.id}: Started (E02.FR.13)")
            elif payload["trigger_reason"] == "ChargingStateChanged":
                self._report("charging_state_missing", f"{transaction.id}: ChargingStateChanged (E02.FR.13)")
            return
        if payload["trigger_reason"] == "ChargingStateChanged" and state == transaction.charging_state:
            self._report("charging_state_unchanged", f"{transaction.id}: it was {state} before")
        if state in CABLE_STATES and transaction.evse_id is None:
            self._report("state_without_evse", f"{transaction.id}: {state} on an unknown EVSE (E01.FR.16)")
        if state == "Charging" and transaction.token is None:
            self._report("charging_unauthorized", f"{transaction.id}: Charging, and no idToken was sent (C01.FR.01)")
        transaction.charging_state = state

    def _check_values(self, transaction: Transaction, payload: Payload) -> None:
        found = samples(payload.get("meter_value"))
        event, trigger = payload["event_type"], payload["trigger_reason"]
        contexts = {sample.context for sample in found}
        for expected, context, rule in (
            ("MeterValuePeriodic", "Sample.Periodic", "periodic_without_values"),
            ("MeterValueClock", "Sample.Clock", "clock_without_values"),
        ):
            if trigger == expected and context not in contexts:
                self._report(rule, f"{transaction.id}: {trigger} with no value of {context}")
        if event == "Started" and contexts - {"Transaction.Begin"}:
            self._report("started_context", f"{transaction.id}: {contexts} in Started (E02.FR.09)")
        if event == "Updated" and "Transaction.Begin" in contexts and transaction.has_values:
            self._report("begin_late", f"{transaction.id}: Transaction.Begin after other values (E02.FR.21)")
        if event == "Updated" and "Transaction.End" in contexts:
            self._report("end_early", f"{transaction.id}: Transaction.End in Updated (E06.FR.11)")
        if event == "Ended" and transaction.evse_id is not None:
            if "Transaction.End" not in contexts:
                self._report("ended_without_end", f"{transaction.id}: Ended without Transaction.End (E06.FR.11)")
            elif "Transaction.Begin" not in contexts:
                self._report("ended_without_begin", f"{transaction.id}: Ended without Transaction.Begin (E, 1.5)")
        if not found:
            return
        if transaction.evse_id is None:
            self._report("meter_without_evse", f"{transaction.id}: values of an unknown EVSE (E01.FR.17)")
        self._check_sample_times(found, transaction.started_at, moment(payload["timestamp"]))
        transaction.has_values = True
        session = self._ledger[transaction.id]
        for sample in found:
            self._check_register(transaction.evse_id, sample)
            if sample.register_wh is not None:
                session.start_wh = sample.register_wh if session.start_wh is None else session.start_wh
                session.end_wh = sample.register_wh

    def _check_stopped_reason(self, transaction: Transaction, payload: Payload) -> None:
        reason, trigger = payload["transaction_info"].get("stopped_reason"), payload["trigger_reason"]
        if payload["event_type"] != "Ended":
            if reason is not None:
                self._report("stopped_reason_early", f"{transaction.id}: {reason}, and it has not ended")
        elif reason is None and not transaction.stopped_by_driver:
            self._report("stopped_reason_missing", f"{transaction.id}: only Local may be left out (E06.FR.08)")
        elif trigger in REASONS and reason not in REASONS[trigger]:
            self._report("stopped_reason_wrong", f"{transaction.id}: {reason} by {trigger} (E07.FR.06)")

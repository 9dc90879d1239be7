"""The station's non-volatile memory, as plain data: meters, variables, tokens, transactions and the queue. No I/O.

What a power loss takes is not in it: who is there, and what was authorized. Times are seconds since the epoch, so that
another clock can go on from there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cpsim_kit.station.charging.meter import Reading, Value
from cpsim_kit.station.charging.transaction import Report, Transaction
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import Offline

if TYPE_CHECKING:
    from cpsim_kit.station.rules.core import Core

__all__ = ["FORMAT", "recall", "remember"]

FORMAT = 1  # changes when an older version of this module could not read the data any more

_VOLATILE = {"sample_at", "ended_sample_at"}


def remember(core: Core, now: float) -> dict[str, Any]:
    """Everything that outlives the power supply, as JSON can hold it.

    Args:
        core: The core.
        now: The moment, on the station's clock.
    """
    epoch = core.epoch
    return {
        "format": FORMAT,
        "version": core.dialect.version.name,
        "at": epoch + now,
        "variables": core.variables.dump(),
        "registers_wh": {str(number): evse.register_wh(now) for number, evse in core.evses.items()},
        "cache": core.cache.dump(),
        "availability": core.availability.dump(),
        "local_list": core.local_list.dump(),
        "reservations": core.reservations.dump(),
        "transactions": [_transaction(each, epoch) for each in core.transactions],
        "queue": [
            _report(message.report, epoch) | {"attempts": message.attempts}
            for message in core.queue
            if message.report is not None
        ],
        "profiles": core.smart.profiles.dump() if core.has_profiles else None,
        "maintenance": core.maintenance.dump(epoch) if core.has_maintenance else None,
    }


def recall(core: Core, data: Mapping[str, Any]) -> None:
    """Put what was remembered into a new core. A transaction that ran ends when the station starts.

    Raises:
        ValueError: That is not the memory of such a station.
    """
    try:
        if data["format"] != FORMAT or data["version"] != core.dialect.version.name:
            raise ValueError(f"it is format {data['format']!r} of a station of OCPP {data['version']}")
        epoch = core.epoch
        core.handle(Offline(), 0.0)
        core.variables.load(data["variables"])
        for number, register_wh in data["registers_wh"].items():
            core.evses[int(number)].set_register(register_wh)
            core.evses[int(number)].has_power = False  # until it starts
        core.cache.load(data["cache"])
        core.local_list.load(data["local_list"])
        if "reservations" in data:
            core.reservations.load(data["reservations"])
        by_key = {}
        for saved in data["transactions"]:
            transaction = _make_transaction(saved, epoch)
            by_key[transaction.key] = transaction
            core.recall_transaction(transaction)
        core.availability.load(data.get("availability"))
        for saved in data["queue"]:
            core.requeue(_make_report(saved, by_key, epoch), attempts=saved["attempts"])
        if (profiles := data.get("profiles")) is not None:
            core.smart.load(profiles, 0.0)
        if (saved := data.get("maintenance")) is not None:
            core.maintenance.load(saved, epoch)
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"that is not the memory of a station: {exc!r}") from exc


def _moment(moment: float | None, epoch: float) -> float | None:
    return None if moment is None or not math.isfinite(moment) else moment + epoch


def _token(token: IdToken | None) -> dict[str, str] | None:
    return None if token is None else dataclasses.asdict(token)


def _reading(reading: Reading | None, epoch: float) -> list[Any] | None:
    return None if reading is None else [reading.at + epoch, reading.context, [list(value) for value in reading.values]]


def _make_reading(saved: list[Any] | None, epoch: float) -> Reading | None:
    if saved is None:
        return None
    at, context, values = saved
    return Reading(at - epoch, context, [Value(*value) for value in values])


def _transaction(transaction: Transaction, epoch: float) -> dict[str, Any]:
    saved = {field.name: getattr(transaction, field.name) for field in dataclasses.fields(transaction)}
    saved |= dict.fromkeys(_VOLATILE)
    saved["start"], saved["end"] = transaction.start + epoch, _moment(transaction.end, epoch)
    saved["token"] = _token(transaction.token)
    saved["begin"] = _reading(transaction.begin, epoch)
    saved["readings"] = [_reading(reading, epoch) for reading in transaction.readings]
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in saved.items()}


def _make_transaction(saved: Mapping[str, Any], epoch: float) -> Transaction:
    values = {name: value for name, value in saved.items() if name not in _VOLATILE}
    values["start"] -= epoch
    values["end"] = None if values["end"] is None else values["end"] - epoch
    values["token"] = None if values["token"] is None else IdToken(**values["token"])
    values["begin"] = _make_reading(values["begin"], epoch)
    values["readings"] = [_make_reading(reading, epoch) for reading in values["readings"]]
    for name in ("start_wh", "end_wh", "reported_start_wh", "reported_end_wh"):
        values[name] = math.nan if values[name] is None else values[name]
    return Transaction(**values)


def _report(report: Report, epoch: float) -> dict[str, Any]:
    saved = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    saved["transaction"] = report.transaction.key
    saved["at"] = report.at + epoch
    saved["token"] = _token(report.token)
    saved["readings"] = [_reading(reading, epoch) for reading in report.readings]
    return saved


def _make_report(saved: Mapping[str, Any], transactions: Mapping[str, Transaction], epoch: float) -> Report:
    values = {name: value for name, value in saved.items() if name != "attempts"}
    values["transaction"] = transactions[values["transaction"]]
    values["at"] -= epoch
    values["token"] = None if values["token"] is None else IdToken(**values["token"])
    values["readings"] = [_make_reading(reading, epoch) for reading in values["readings"]]
    values["offline"] = True
    return Report(**values)

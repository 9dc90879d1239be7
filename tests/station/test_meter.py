"""What the meter of an EVSE shows: values that belong together, with units and phases."""

from __future__ import annotations

import pytest
from ocpp.v16.enums import Measurand as Measurand16
from ocpp.v16.enums import UnitOfMeasure
from ocpp.v201.enums import MeasurandEnumType

from cpsim_kit import Evse, Vehicle
from cpsim_kit.station.charging.evse import LiveEvse
from cpsim_kit.station.charging.meter import MEASURANDS, PER_PHASE, Value, read, read_all
from cpsim_kit.station.rules.authorization import Authorization, IdToken

REGISTER = "Energy.Active.Import.Register"


def charging(spec: Evse, vehicle: Vehicle | None = None, *, is_authorized: bool = True) -> LiveEvse:
    evse = LiveEvse(1, spec)
    if vehicle is not None:
        evse.connect(vehicle, 0)
    evse.authorization = Authorization(IdToken("TAG-1")) if is_authorized else None
    evse.offer(0)
    return evse


def values(evse: LiveEvse, *measurands: str, now: float = 0) -> list[Value]:
    return read(evse, now, "Sample.Periodic", measurands).values


@pytest.mark.parametrize(
    ("measurand", "unit"),
    [
        ("Energy.Active.Import.Register", "Wh"),
        ("Power.Active.Import", "W"),
        ("Power.Offered", "W"),
        ("Current.Import", "A"),
        ("Current.Offered", "A"),
        ("Voltage", "V"),
        ("SoC", "Percent"),
        ("Frequency", "Hz"),
        ("Temperature", "Celsius"),
    ],
)
def test_each_measurand_has_a_unit_and_a_value(measurand: str, unit: str) -> None:
    assert MEASURANDS[measurand] == unit
    assert values(charging(Evse(), Vehicle()), measurand)


def test_names_and_units_are_those_of_both_versions() -> None:
    assert set(MEASURANDS) <= {each.value for each in Measurand16}
    assert set(MEASURANDS) - {"Temperature"} <= {each.value for each in MeasurandEnumType}
    assert set(MEASURANDS.values()) - {"Hz"} <= {each.value for each in UnitOfMeasure}


@pytest.mark.parametrize(
    ("spec", "vehicle", "expected"),
    [
        (
            Evse(22),
            Vehicle(max_kw=11.04),
            {
                "Power.Active.Import": {"": 11_040},
                "Power.Offered": {"": 22_000},
                "Current.Import": {"L1": 16, "L2": 16, "L3": 16},
                "Current.Offered": {"L1": 31.88, "L2": 31.88, "L3": 31.88},
                "Voltage": {"L1-N": 230, "L2-N": 230, "L3-N": 230},
                "Frequency": {"": 50},
                "Temperature": {"": 32.5},
            },
        ),
        (
            Evse(22),
            Vehicle(max_kw=3.68, phases=1),
            {
                "Power.Active.Import": {"": 3680},
                "Power.Offered": {"": 7333.3},
                "Current.Import": {"L1": 16, "L2": 0, "L3": 0},
                "Current.Offered": {"L1": 31.88, "L2": 0, "L3": 0},
                "Voltage": {"L1-N": 230, "L2-N": 230, "L3-N": 230},
            },
        ),
        (
            Evse(22),
            Vehicle(max_kw=7.36, phases=2),
            {"Current.Import": {"L1": 16, "L2": 16, "L3": 0}, "Current.Offered": {"L1": 31.88, "L2": 31.88, "L3": 0}},
        ),
        (
            Evse(7.36, 1),
            Vehicle(max_kw=11.04),
            {
                "Power.Active.Import": {"": 3680},
                "Current.Import": {"L1": 16},
                "Current.Offered": {"L1": 32},
                "Voltage": {"L1-N": 230},
            },
        ),
        (
            Evse(50, "DC"),
            Vehicle(max_kw=40, phases=1, power_factor=0.5),
            {
                "Power.Active.Import": {"": 40_000},
                "Power.Offered": {"": 50_000},
                "Current.Import": {"": 100},
                "Current.Offered": {"": 125},
                "Voltage": {"": 400},
                "Frequency": {},
                "Temperature": {"": 40},
            },
        ),
        (
            Evse(22.08),
            Vehicle(max_kw=11.04, power_factor=0.8),
            {
                "Power.Active.Import": {"": 11_040},
                "Power.Offered": {"": 17_664},
                "Current.Import": {"L1": 20, "L2": 20, "L3": 20},
                "Current.Offered": {"L1": 32, "L2": 32, "L3": 32},
            },
        ),
    ],
    ids=["three phases", "one phase of three", "two of three", "three at one", "DC", "power factor"],
)
def test_values_of_each_phase(spec: Evse, vehicle: Vehicle, expected: dict[str, dict[str, float]]) -> None:
    evse = charging(spec, vehicle)
    for measurand, phases in expected.items():
        found = values(evse, measurand)
        assert {value.phase: value.number for value in found} == pytest.approx(phases), measurand
        assert {value.measurand for value in found} <= {measurand}


def test_register_counts_whole_watt_hours_and_soc_is_a_percentage() -> None:
    evse = charging(Evse(22, register_kwh=1.5), Vehicle(capacity_kwh=60, soc=0.3, max_kw=11))
    assert values(evse, REGISTER, "SoC", now=100) == [(REGISTER, "", 1806), ("SoC", "", 30.5)]
    assert isinstance(values(evse, REGISTER, now=100)[0].number, int)


def test_only_the_phase_that_is_asked_for_is_read() -> None:
    evse = charging(Evse(), Vehicle())
    assert values(evse, "Voltage.L2", "Current.Import.L3") == [
        ("Voltage", "L2-N", 230),
        ("Current.Import", "L3", pytest.approx(15.94)),
    ]


@pytest.mark.parametrize("name", ["Voltage.L2", "Current.Import.L3"])
def test_a_phase_that_the_evse_has_not_is_left_out(name: str) -> None:
    assert values(charging(Evse(phases=1, max_kw=7.4), Vehicle()), name) == []


@pytest.mark.parametrize("name", sorted(PER_PHASE))
def test_what_is_measured_per_phase_can_be_asked_for_by_phase(name: str) -> None:
    assert len(values(charging(Evse(), Vehicle()), f"{name}.L1", f"{name}.L2", f"{name}.L3")) == 3


@pytest.mark.parametrize("name", sorted(set(MEASURANDS) - PER_PHASE))
def test_what_is_measured_once_has_no_phase(name: str) -> None:
    assert [value.phase for value in values(charging(Evse(), Vehicle()), name)] == [""]


@pytest.mark.parametrize("name", ["RPM", "Voltage.L4", "L1", ".L1", ""])
def test_what_it_does_not_measure_is_left_out(name: str) -> None:
    assert values(charging(Evse(), Vehicle()), name) == []


def test_an_idle_meter_shows_its_register_and_no_current() -> None:
    evse = charging(Evse(register_kwh=2), is_authorized=False)
    assert values(evse, *MEASURANDS) == [
        (REGISTER, "", 2000),
        ("Power.Active.Import", "", 0),
        ("Power.Offered", "", 0),
        *[("Current.Import", phase, 0) for phase in ("L1", "L2", "L3")],
        *[("Current.Offered", phase, 0) for phase in ("L1", "L2", "L3")],
        *[("Voltage", phase, 230) for phase in ("L1-N", "L2-N", "L3-N")],
        ("Frequency", "", 50),
        ("Temperature", "", 20),
    ]


def test_a_vehicle_without_authorization_draws_no_current_and_has_a_state_of_charge() -> None:
    evse = charging(Evse(), Vehicle(soc=0.42), is_authorized=False)
    assert values(evse, "Power.Active.Import", "Current.Import.L1", "SoC") == [
        ("Power.Active.Import", "", 0),
        ("Current.Import", "L1", 0),
        ("SoC", "", 42),
    ]


def test_a_reading_keeps_its_moment_its_context_and_the_order_asked_for() -> None:
    reading = read(charging(Evse(), Vehicle()), 60, "Transaction.End", ("SoC", REGISTER, "SoC"))
    assert (reading.at, reading.context) == (60, "Transaction.End")
    assert [value.measurand for value in reading.values] == ["SoC", REGISTER, "SoC"]


# -- The station's own meter ------------------------------------------------------------------------------------------


def test_the_stations_meter_adds_up_registers_and_power_of_its_evses() -> None:
    evses = [
        charging(Evse(22, register_kwh=1), Vehicle(max_kw=11)),
        charging(Evse(7.36, 1, register_kwh=2), Vehicle(max_kw=3.7, phases=1)),
        charging(Evse(50, "DC")),
    ]
    reading = read_all(
        evses, 60, ("Voltage", "Power.Active.Import", "SoC", REGISTER, "Power.Offered", "Current.Import")
    )
    assert (reading.at, reading.context) == (60, "Sample.Clock")
    assert reading.values == [
        ("Power.Active.Import", "", 14_700),
        (REGISTER, "", 1183 + 2062),
        ("Power.Offered", "", 29_360),
    ]


def test_the_stations_meter_shows_sums_without_the_noise_of_binary_fractions() -> None:
    evses = [charging(Evse(22), Vehicle(max_kw=kw)) for kw in (0.0001, 0.0002)]
    assert [value.number for value in read_all(evses, 0, ("Power.Active.Import",)).values] == [0.3]


def test_the_stations_meter_has_no_values_for_what_does_not_add_up() -> None:
    assert read_all([charging(Evse(), Vehicle())], 0, ("Voltage", "SoC", "Power.Active.Import.L1")).values == []

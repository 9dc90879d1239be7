"""The words in the column ``outcome``."""

from __future__ import annotations

from cpsim_kit import errors
from cpsim_kit.records.outcomes import FAULT, NOT_FAILED


def subclasses(kind: type[errors.CpsimError]) -> list[type[errors.CpsimError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in subclasses(child))]


def test_the_outcome_of_each_error_is_a_failure() -> None:
    outcomes = {kind.outcome for kind in subclasses(errors.CpsimError)}
    assert not outcomes & {*NOT_FAILED, FAULT}

"""Plays charge points against a CSMS, and tells for each check what is demanded and what was seen. Knows no AWS."""

from cpsim_kit.check_up.checking import check_up
from cpsim_kit.check_up.checks import CHECKS, Check
from cpsim_kit.check_up.report import CheckUp, Finding

__all__ = ["CHECKS", "Check", "CheckUp", "Finding", "check_up"]

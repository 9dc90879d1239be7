"""OCPP 2.0.1 and 2.1: their words (`words`), and what a station does on the CSMS's commands, a module each group."""

from cpsim_kit.station.dialects.v201.words import V21, V201

__all__ = ["V21", "V201"]

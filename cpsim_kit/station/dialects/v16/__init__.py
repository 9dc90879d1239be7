"""OCPP 1.6: its words (`words`), and what a station does on the CSMS's commands, a module for each group of them."""

from cpsim_kit.station.dialects.v16.words import V16

__all__ = ["V16"]

"""The command line: ``cpsim simulate``, ``cpsim stack``, ``cpsim load``, ``cpsim lab``."""

from cpsim_kit.cli.main import main

__all__ = ["main"]

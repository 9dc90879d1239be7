"""What runs in the local stack's process: the AWS endpoint and its door, the gateway, the registry, and the CSMS."""

from cpsim_kit.local.server.emulator import Emulator
from cpsim_kit.local.server.gateway import Gateway
from cpsim_kit.local.server.processor import CHARACTERS, Csms
from cpsim_kit.local.server.registry import Registry
from cpsim_kit.local.server.tables import Tables

__all__ = ["CHARACTERS", "Csms", "Emulator", "Gateway", "Registry", "Tables"]

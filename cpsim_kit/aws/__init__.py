"""What a stack gives of AWS: Things, Device Shadows, topic rules, MQTT, CALLs of the CSMS. boto3 and paho are here."""

from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.aws.rules import Rule
from cpsim_kit.aws.session import Aws
from cpsim_kit.aws.shadow import Shadow
from cpsim_kit.aws.things import Thing, Things

__all__ = ["Aws", "Monitor", "Rule", "Shadow", "Thing", "Things"]

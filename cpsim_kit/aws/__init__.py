"""What a stack gives of AWS: Things, shadows, topic rules, MQTT, its message processor. boto3 and paho are here."""

from cpsim_kit.aws.message_processor import MessageProcessor
from cpsim_kit.aws.monitor import Monitor
from cpsim_kit.aws.rules import Rule
from cpsim_kit.aws.session import Aws
from cpsim_kit.aws.shadow import Shadow
from cpsim_kit.aws.things import Thing, Things

__all__ = ["Aws", "MessageProcessor", "Monitor", "Rule", "Shadow", "Thing", "Things"]

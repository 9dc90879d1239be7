"""The local stack: a child process that is an AWS endpoint, the OCPP gateway and a CSMS.

`launcher` and `usage` run in the user's process and start and measure ``python -m cpsim_kit.local``. That process runs
what is in `server`, which uses `iot_sql`.
"""

from cpsim_kit.local.launcher import LocalOptions, LocalProcess
from cpsim_kit.local.template import PROCESS_KEY
from cpsim_kit.local.usage import OtherProcess, Usage

__all__ = ["PROCESS_KEY", "LocalOptions", "LocalProcess", "OtherProcess", "Usage"]

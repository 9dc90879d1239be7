"""The words in the column ``outcome`` of every table of calls. No I/O.

The outcome of a failed call is the ``outcome`` of its error's class, see :mod:`cpsim_kit.errors`. This module has the
outcomes of calls without an error, and names for the outcomes that tables of recorded messages need.
"""

from __future__ import annotations

from cpsim_kit.errors import CallFailed, CallTimeout

__all__ = ["ANSWERED", "CALLERROR", "FAULT", "NOT_FAILED", "NOT_SENT", "NO_ANSWER", "OF_KIND", "UNFINISHED"]

ANSWERED = "answered"
UNFINISHED = "unfinished"  # the run ended before the answer came
FAULT = "error"  # an error outside the kit: in the scenario, or in a function or object that it passed to the kit
NOT_SENT = "not sent"  # a recorded call that is not valid
CALLERROR = CallFailed.outcome
NO_ANSWER = CallTimeout.outcome

NOT_FAILED = (ANSWERED, UNFINISHED)
OF_KIND = {"CALLRESULT": ANSWERED, "CALLERROR": CALLERROR}  # the outcome of a CALL by the kind of its answer

"""Tables: the dtypes of columns in the kit's DataFrames. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DTYPES", "table"]

# A column that is not listed is a float if its name ends like a measurement, else an object.
DTYPES = {
    "sent_at": "datetime64[ns, UTC]",
    "charge_point_id": "str",
    "direction": "category",
    "kind": "category",
    "action": "category",
    "outcome": "category",
    "message_id": "str",
    "topic": "str",
    "shadow_version": "Int64",
    "seen_at": "datetime64[ns, UTC]",
    "started_at": "datetime64[ns, UTC]",
    "running_tasks": "Int64",
    "desired_tasks": "Int64",
    "source": "category",
}
_FLOATS = ("_ms", "_s", "_percent", "_mib", "_mb")  # how the names of measurements end


def table(rows: Iterable[Sequence[Any]] | pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Make a DataFrame whose columns have the dtypes of the kit's tables, also without rows."""
    import pandas as pd  # noqa: PLC0415 - half a second that a load generator need not spend

    dtypes = {
        name: DTYPES.get(name) or ("float64" if name.endswith(_FLOATS) else "object") for name in dict.fromkeys(columns)
    }
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=list(columns))
    return frame.astype(dtypes)

"""The card that an object shows in a notebook's cell: a small HTML table for light and dark themes. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["card"]

# The colours are the page's; the grey border is visible on white and on black. Pages have styles for tables (centred,
# striped, aligned right, no line breaks); each element overrides them, as a notebook's output has no style sheet.
_FRAME = (
    "display:inline-block;box-sizing:border-box;max-width:100%;padding:.4em .8em;color:inherit;line-height:1.5;"
    "border:1px solid rgba(128,128,128,.5);border-radius:4px;text-align:left"
)
_TABLE = "margin:.2em 0 0;border:none;border-collapse:collapse;width:auto;font-size:inherit;color:inherit"
_ROW = "background:transparent;border:none"
_PLAIN = "border:none;text-align:left;vertical-align:top;line-height:inherit;"
_NAME = f"{_PLAIN}padding:.1em 1em .1em 0;font-weight:normal;white-space:nowrap;opacity:.7"
_CELL = f"{_PLAIN}padding:.1em 0;white-space:normal;overflow-wrap:anywhere;max-width:none"
_CODE = (
    "margin:0;padding:0;border:none;background:transparent;color:inherit;"
    "font-family:monospace;line-height:1.4;white-space:pre-wrap;overflow-wrap:anywhere"
)
_STATE = "opacity:.7;margin-left:.4em"


def card(title: str, state: str, rows: Mapping[str, Any]) -> str:
    """HTML for ``_repr_html_``; everything is escaped.

    Args:
        title: What the object is, e.g. "ChargePoint CP1".
        state: Its state, e.g. "open".
        rows: Its other values by name. None and "" are left out, dicts and lists are shown as JSON, and passwords in
            addresses are hidden.
    """
    body = "".join(
        f'<tr style="{_ROW}"><th scope="row" style="{_NAME}">{escape(name)}</th>'
        f'<td style="{_CELL}">{_value(value)}</td></tr>'
        for name, value in rows.items()
        if value is not None and value != ""
    )
    head = f"<strong>{escape(title)}</strong>"
    if state:
        head += f'<span style="{_STATE}">{escape(state)}</span>'
    if body:
        head += f'<table style="{_TABLE}"><tbody>{body}</tbody></table>'
    return f'<div style="{_FRAME}">{head}</div>'


def _value(value: Any) -> str:
    is_json = isinstance(value, dict | list)
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) if is_json else str(value).strip()
    text = escape(re.sub(r"(?<=://)[^/\s]*@", "…@", text))
    return f'<pre style="{_CODE}">{text}</pre>' if is_json or "\n" in text else text

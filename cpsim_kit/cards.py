"""How an object shows itself in a cell: a small table that fits light and dark themes. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["card"]

# Colours come from the page; the grey of the border is seen on white and on black.
_FRAME = "display:inline-block;border:1px solid rgba(128,128,128,.5);border-radius:4px;padding:.3em .8em;color:inherit"
_PLAIN = "text-align:left;vertical-align:top;background:transparent;color:inherit;border:none;padding:.1em .6em .1em 0"
_CODE = "margin:0;background:transparent;color:inherit;white-space:pre-wrap"


def card(title: str, state: str, rows: Mapping[str, Any]) -> str:
    """HTML for ``_repr_html_``; everything is escaped.

    Args:
        title: What it is, e.g. "ChargePoint CP1".
        state: In what state, e.g. "open".
        rows: What else there is to say; None and "" are left out, dicts and lists are shown as JSON, and passwords in
            addresses are not shown.
    """
    body = "".join(
        f'<tr><th style="{_PLAIN}">{escape(name)}</th><td style="{_PLAIN}">{_value(value)}</td></tr>'
        for name, value in rows.items()
        if value is not None and value != ""
    )
    head = f"<strong>{escape(title)}</strong> {escape(state)}".rstrip()
    return f'<div style="{_FRAME}">{head}<table style="{_PLAIN}">{body}</table></div>'


def _value(value: Any) -> str:
    if isinstance(value, dict | list):
        return f'<pre style="{_CODE}">{escape(json.dumps(value, indent=2, ensure_ascii=False, default=str))}</pre>'
    text = re.sub(r"(?<=://)[^/@\s]*@", "…@", str(value))
    if "\n" in text:
        return f'<pre style="{_CODE}">{escape(text.strip())}</pre>'
    return escape(text)

"""Firmware updates, uploads of logs, and security events. No clock, no I/O."""

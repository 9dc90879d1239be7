"""Foundations of all packages: time, waiting, tables, cards, addresses, this process. Knows nothing of OCPP or AWS."""

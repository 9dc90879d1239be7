"""OCPP-J without I/O: frames, payloads and JSON schemas of OCPP 1.6, 2.0.1 and 2.1, and message ids."""

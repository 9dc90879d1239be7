"""EVSEs, vehicles, meters, transactions and sessions: the physics, and the records of it. No clock, no I/O."""

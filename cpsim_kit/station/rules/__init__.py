"""The rules of a station: what an act, an answer, a command or the passing of time changes. No clock, no I/O."""

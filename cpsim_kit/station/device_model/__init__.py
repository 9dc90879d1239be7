"""The device model: components and variables, their values and reports of them. No clock, no I/O."""

"""Awaitable EV charge points and AWS helpers for notebooks."""

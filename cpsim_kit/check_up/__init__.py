"""Plays charge points against a CSMS, and says for each check what is demanded and what was seen. Knows no AWS."""

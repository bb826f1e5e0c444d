"""Decisions and values without I/O, clock or framework."""

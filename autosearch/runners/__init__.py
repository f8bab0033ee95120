"""Runners: each owns the loop, the workers and the clock of a study."""

"""Trials through Ray Tune: the session, the worker's side and the driver's side."""

"""Schedulers: which trials stop, pause and go on, as functions of the history."""

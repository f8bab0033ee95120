"""Searchers: what runs next, as a function of the history."""

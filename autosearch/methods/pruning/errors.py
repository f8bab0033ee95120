"""What pruning refuses."""

from autosearch.core.errors import AutosearchError


class PruningError(AutosearchError, ValueError):
    """A network, a target or a description of kept channels that cannot be pruned; names the module."""

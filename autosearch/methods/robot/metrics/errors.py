"""Why a metric has no value."""

from autosearch.core.errors import AutosearchError


class UndefinedMetric(AutosearchError):  # noqa: N818 - it is a finding about a network, not a fault of the program
    """A metric does not exist for this network and batch; the message says why in half a sentence."""

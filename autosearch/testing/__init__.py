"""Conformance kits that plug-in authors run on their own searchers, schedulers and runners."""

"""Conformance kits: what a searcher, scheduler, learner or runner of your own must pass. Shipped for plug-in authors."""

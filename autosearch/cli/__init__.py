"""The commands: thin, each a few calls into `autosearch.compose`."""

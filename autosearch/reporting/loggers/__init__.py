"""Loggers: a study's trials in another tool, by one word each. They listen and can never hurt the study."""

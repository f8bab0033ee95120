"""study.yaml -> a frozen StudySpec, with every problem located in the file."""

from autosearch.spec.loading import load_spec, placeholders
from autosearch.spec.plugin_specs import TrainingMethod
from autosearch.spec.reading import read_value
from autosearch.spec.schema import json_schema
from autosearch.spec.study_spec import PluginSpec, RunSpec, StudySpec

__all__ = [
    "PluginSpec",
    "RunSpec",
    "StudySpec",
    "TrainingMethod",
    "json_schema",
    "load_spec",
    "placeholders",
    "read_value",
]

"""study.yaml -> a frozen StudySpec, with every problem located in the file."""

from autosearch.spec.loading import load_spec, placeholders
from autosearch.spec.plugin_specs import TrainingMethod
from autosearch.spec.study_spec import PluginSpec, RunSpec, StudySpec

__all__ = ["PluginSpec", "RunSpec", "StudySpec", "TrainingMethod", "load_spec", "placeholders"]

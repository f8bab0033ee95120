"""study.yaml -> a frozen StudySpec, with every problem located in the file."""

from autosearch.spec.study_spec import PluginSpec, RunSpec, StudySpec

__all__ = ["PluginSpec", "RunSpec", "StudySpec"]

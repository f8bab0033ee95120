"""Every error that autosearch raises, as one tree.

    AutosearchError
    ├── SpaceError (ValueError)            a parameter, constraint or configuration breaks a rule
    │   └── ExpressionError                text in the expression language is refused
    ├── SpecError (ValueError)             a study file breaks a rule; carries located problems
    ├── ResolveError (LookupError)         a name that no plug-in carries
    ├── OptionError (ValueError)           a plug-in refuses an option
    ├── StudyError (RuntimeError)          a call that the state of the study does not allow
    │   └── RepeatedFailureError           the first trials all failed in the same way
    └── RecordError (RuntimeError)         the storage cannot be opened, read or written
        ├── StudyLockedError               another driver works on the study
        └── StudyMismatchError             the record was made with another space or other objectives

A trial that fails is not an error of the driver: it is a `Failure` in the record.
"""

from autosearch.space.errors import AutosearchError, ExpressionError, SpaceError

__all__ = [
    "AutosearchError",
    "ExpressionError",
    "OptionError",
    "RecordError",
    "RepeatedFailureError",
    "ResolveError",
    "SpaceError",
    "SpecError",
    "StudyError",
    "StudyLockedError",
    "StudyMismatchError",
]


class SpecError(AutosearchError, ValueError):
    """A study file breaks one or more rules.

    Attributes:
        problems: one line each, `FILE:LINE:COLUMN PATH: RULE`, in file order.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ResolveError(AutosearchError, LookupError):
    """No plug-in carries a name; the message gives the nearest one and all that are known."""


class OptionError(AutosearchError, ValueError):
    """A plug-in refuses an option.

    Attributes:
        option: the option's name, empty if the fault is not a single option's.
    """

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class StudyError(AutosearchError, RuntimeError):
    """The state of the study does not allow the call."""


class RepeatedFailureError(StudyError):
    """The study ended itself because its first trials failed in the same way; carries the traceback."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class RecordError(AutosearchError, RuntimeError):
    """A storage cannot be opened, read or written."""


class StudyLockedError(RecordError):
    """Another driver works on this study."""


class StudyMismatchError(RecordError):
    """The record was made with another space, other objectives or other constraints.

    Attributes:
        differences: one human-readable line each.
    """

    def __init__(self, message: str, differences: list[str]) -> None:
        super().__init__(message)
        self.differences = differences

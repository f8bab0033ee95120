"""An Optuna storage as a `Store`, through Optuna's own calls: the one in memory."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autosearch.core.records import Json
from autosearch.record.store import Change, Draft, Row, Status, StudyRow


class OptunaStore:
    """Studies in an Optuna storage, through its public interface."""

    folder = None

    def driven(self, study: str) -> bool | None:  # noqa: ARG002
        return None

    def __init__(self, storage: BaseStorage, location: str) -> None:
        self.storage = storage
        self.location = location

    def studies(self) -> dict[str, StudyRow]:
        return studies_of(self.storage)

    def create_study(self, name: str, directions: Sequence[int]) -> int:
        with quiet():
            return self.storage.create_new_study([StudyDirection(d) for d in directions], name)

    def set_study(self, study_id: int, system: Mapping[str, Json], user: Mapping[str, Json]) -> None:
        for key, value in user.items():
            self.storage.set_study_user_attr(study_id, key, value)
        for key, value in system.items():
            self.storage.set_study_system_attr(study_id, key, value)

    def create_trials(self, study_id: int, drafts: Sequence[Draft]) -> list[int]:
        return [self.storage.create_new_trial(study_id, _frozen(draft)) for draft in drafts]

    def update_trial(self, trial_id: int, change: Change) -> None:
        for step, value in change.intermediate.items():
            self.storage.set_trial_intermediate_value(trial_id, step, value)
        for key, value in change.user.items():
            self.storage.set_trial_user_attr(trial_id, key, value)
        for key, value in change.system.items():
            self.storage.set_trial_system_attr(trial_id, key, value)
        if change.status is not None:
            self.storage.set_trial_state_values(trial_id, TrialState(change.status), change.values)

    def load(self, study_id: int) -> list[Row]:
        return [_row(frozen) for frozen in self.storage.get_all_trials(study_id, deepcopy=False)]

    def close(self) -> None:
        """Nothing to let go of."""


def studies_of(storage: BaseStorage) -> dict[str, StudyRow]:
    """Every study by name."""
    return {
        study.study_name: StudyRow(study._study_id, study.study_name, dict(study.system_attrs))
        for study in storage.get_all_studies()
    }


def memory_store() -> OptunaStore:
    """A new storage in memory."""
    return OptunaStore(InMemoryStorage(), "memory")


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's line about a new study, which its own handler prints; its level is the caller's again after."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _frozen(draft: Draft) -> FrozenTrial:
    distributions = {name: _distribution(text) for name, text in draft.distributions.items()}
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState(draft.status),
        value=None,
        values=draft.content.values,
        datetime_start=_local(draft.started),
        datetime_complete=_local(draft.ended),
        params={name: distributions[name].to_external_repr(v) for name, v in draft.params.items()},
        distributions=distributions,
        user_attrs=dict(draft.content.user),
        system_attrs=dict(draft.content.system),
        intermediate_values=dict(draft.content.intermediate),
    )


def _local(moment: datetime | None) -> datetime | None:
    """Optuna's objects hold local times without a zone."""
    return None if moment is None else moment.astimezone().replace(tzinfo=None)


def _row(frozen: FrozenTrial) -> Row:
    return Row(
        frozen._trial_id,
        Status(frozen.state.value),
        {name: frozen.distributions[name].to_internal_repr(v) for name, v in frozen.params.items()},
        frozen.system_attrs,
        frozen.values,
    )

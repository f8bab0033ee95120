"""Recorded courses, replayed in plain runs."""

import json

import pytest
import torch
from torch import nn

from autosearch.core import OptionError
from autosearch.methods.stn import ScheduleReplay, Trajectory
from autosearch.methods.stn.replay import Recorder

SCHEDULE = {
    "steps": 10,
    "at": [0, 4, 8],
    "values": {"dropout": [0.1, 0.2, 0.3], "weight_decay": [0.0, 1e-2, 1e-1]},
    "dropouts": {"1": "dropout"},
}


def network():
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Dropout(0.5))


def test_a_replay_sets_dropout_and_weight_decay_as_they_were():
    model = network()
    groups = [
        {"params": [model[0].weight], "weight_decay": 0.5, "decay_scale": 1.0},
        {"params": [model[0].bias], "weight_decay": 0.0, "decay_scale": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    replay = ScheduleReplay(json.loads(json.dumps(SCHEDULE)), model, optimizer)
    rates, decays = [], []
    for _ in range(10):
        rates.append(model[1].p)
        decays.append([group["weight_decay"] for group in optimizer.param_groups])
        replay.step()
    assert rates == [0.1] * 4 + [0.2] * 4 + [0.3] * 2
    assert decays[0] == [0, 0]
    assert decays[-1] == [1e-1, 0]
    assert model[2].p == 0.5


def test_a_replay_stretches_over_another_length_and_resumes():
    replay = ScheduleReplay(SCHEDULE, network(), total_steps=20)
    for _ in range(15):
        replay.step()
    assert replay.values["dropout"] == 0.2
    other = ScheduleReplay(SCHEDULE, network(), total_steps=20)
    other.load_state_dict(replay.state_dict())
    assert other.step() == replay.step()
    assert other.values["dropout"] == 0.3


def test_a_schedule_for_another_network_or_with_a_part_missing_is_refused():
    with pytest.raises(OptionError, match="sets the dropout of '1'"):
        ScheduleReplay(SCHEDULE, nn.Sequential(nn.Linear(3, 3)))
    with pytest.raises(OptionError, match="'at' is missing"):
        ScheduleReplay({"steps": 3, "values": {}}, network())
    with pytest.raises(OptionError, match="2 values for 3 steps"):
        Trajectory.read({**SCHEDULE, "values": {"dropout": [0.1, 0.2]}})
    with pytest.raises(OptionError, match="rise from 0"):
        Trajectory.read({**SCHEDULE, "at": [0, 4, 4]})


def test_a_recorder_keeps_the_whole_course_in_bounded_memory():
    recorder = Recorder(["x"], [0.0])
    for step in range(1, 20_001):
        recorder.add(step, [float(step)])
    course = recorder.trajectory(20_000, {})
    assert 1000 < len(course.at) <= Recorder.limit
    assert course.at[0] == 0
    assert course.at[-1] > 19_900
    assert list(course.values["x"]) == list(course.at)
    again = Recorder(["x"], [0.0])
    again.load_state_dict(recorder.state_dict())
    for each in (recorder, again):
        each.add(20_001, [1.0])
    assert again.state_dict() == recorder.state_dict()


def test_thinning_keeps_both_ends():
    course = Trajectory(100, tuple(range(100)), {"x": tuple(map(float, range(100)))}, {})
    thin = course.thinned(7)
    assert len(thin.at) == 7
    assert (thin.at[0], thin.at[-1]) == (0, 99)

"""Self-tuning on a CUDA device."""

import math

import pytest
import torch

from autosearch.methods.stn.training import STNTraining
from autosearch.tasks.image_classification import ImageClassification

pytestmark = pytest.mark.gpu

TUNE = {
    "dropout": {"low": 0.0, "high": 0.9},
    "shift": {"low": 0.0, "high": 0.3},
    "cutout_length": {"low": 0, "high": 3, "discrete": True},
    "weight_decay": {"low": 1e-5, "high": 0.1, "log": True},
}


@pytest.mark.parametrize("preset", ["modern", "paper"])
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_a_run_on_the_device_tunes_and_resumes(preset, amp):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    task = ImageClassification(dataset="digits", model="cnn", epochs=4, amp=amp, device="cuda")
    task = task.trained_by([STNTraining(TUNE, preset)])
    learner = task.trained_learner(0)
    learner.advance(10)
    snapshot = learner.snapshot()
    learner.advance(10)
    assert math.isfinite(learner.evaluate()["val_loss"])
    assert learner.tuner.converted.scale.is_cuda
    learner.restore(snapshot)
    assert learner.step == 10

import pytest
import torch
from torch import nn

from autosearch.learning import BatchStream, StepOptions, TorchLearner, load_checkpoint, save_checkpoint

pytestmark = pytest.mark.gpu


@pytest.fixture
def device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


def make(device, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 4)).to(device)
    x, y = torch.randn(256, 8, device=device), torch.randint(4, (256,), device=device)
    return TorchLearner(
        model,
        BatchStream(256, 64, lambda i, g: (x[i], y[i]), seed=0, device=device),
        lambda net, batch: nn.functional.cross_entropy(net(batch[0]).float(), batch[1]),
        torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
        options=options,
    )


@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_restoring_on_a_gpu_repeats_the_loss(device, amp, tmp_path, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    options = StepOptions(amp=amp, clip_norm=1.0, ema=0.9, deterministic=True)
    learner = make(device, options)
    learner.advance(20)
    save_checkpoint(tmp_path, learner.snapshot())
    expected = learner.advance(100)
    learner.restore(load_checkpoint(tmp_path))
    assert learner.advance(100) == expected
    fresh = make(device, options)
    fresh.restore(load_checkpoint(tmp_path))
    assert fresh.advance(100) == expected

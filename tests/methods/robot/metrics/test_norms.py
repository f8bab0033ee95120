import pytest
import torch
from torch.nn import functional

from autosearch.methods.robot.metrics.norms import batch_norm


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (6, 3)])
def test_the_cheap_norm_equals_torchs_up_to_its_second_derivative(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    scale, shift = torch.randn(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    ours = batch_norm(x, scale, shift, 1e-5)
    theirs = functional.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)
    assert torch.allclose(ours, theirs)
    direction = torch.randn_like(ours)
    found = []
    for out in (ours, theirs):
        gradient = torch.autograd.grad((out.sin() * direction).sum(), x, create_graph=True)[0]
        found.append((gradient, torch.autograd.grad(gradient.square().sum(), x)[0]))
    for mine, its in zip(*found, strict=True):
        assert torch.allclose(mine, its, rtol=1e-9, atol=1e-12)


def test_without_scale_and_shift_the_norm_is_plain() -> None:
    x = torch.randn(5, 2, dtype=torch.float64)
    assert torch.allclose(
        batch_norm(x, None, None, 1e-5), functional.batch_norm(x, None, None, training=True)
    )

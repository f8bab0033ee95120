"""The six published layers: reference values, gradients, statistics, precision, and the company of torch's tools."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from autosearch.core import OptionError
from autosearch.methods.evonorm import VARIANTS, EvoNorm2d, evonorm_b0, evonorm_s0

S = [v for v in VARIANTS if v.startswith("s")]
B = [v for v in VARIANTS if v.startswith("b")]
BOTH = pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
EACH = pytest.mark.parametrize("variant", VARIANTS)

# x = 1/4 ... 8/4 as (2, 1, 2, 2), one group, eps 1e-5, training mode; computed once in 64 bits from the formulas.
REFERENCE = {
    "b0": [0.436429, 0.641415, 0.728490, 0.781539, 0.817246, 0.842921, 0.862270, 0.877375],
    "b1": [0.292116, 0.486859, 0.625962, 0.730289, 0.336932, 0.363886, 0.385940, 0.404318],
    "b2": [0.436429, 0.872858, 1.309287, 1.745717, 2.182146, 2.618575, 3.055004, 3.491433],
    "s0": [0.502794, 1.113418, 1.822311, 2.615347, 3.475968, 4.387284, 5.333727, 6.302068],
    "s1": [0.502794, 1.113418, 1.822311, 2.615347, 3.475968, 4.387284, 5.333727, 6.302068],
    "s2": [0.205276, 0.454575, 0.743995, 1.067768, 0.589268, 0.743761, 0.904208, 1.068367],
}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def layer(variant: str, channels: int = 4, *, drawn: bool = True, **options: object) -> EvoNorm2d:
    """A layer in 64 bits with two channels a group; with `drawn`, parameters off their initial values."""
    if channels % 2 == 0 and "groups" not in options:
        options = {"group_size": 2, **options}
    made = EvoNorm2d(channels, variant, **{"dtype": torch.float64, **options})
    if drawn:
        for parameter in made.parameters():
            nn.init.normal_(parameter, 1.0, 0.5)
    return made


def features(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*(shape or (3, 4, 3, 2)), dtype=dtype) * 1.5 + 0.3


@BOTH
@EACH
def test_reference_values_are_reproduced(variant: str, fused: bool) -> None:
    x = (torch.arange(1, 9).double() / 4).view(2, 1, 2, 2)
    y = layer(variant, 1, drawn=False, groups=1, fused=fused)(x)
    assert y.flatten().tolist() == pytest.approx(REFERENCE[variant], abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
@EACH
def test_the_written_out_gradient_is_that_of_the_plain_form(variant: str, training: bool) -> None:
    fused = layer(variant).train(training)
    plain = copy.deepcopy(fused)
    plain.fused = False
    x = features()
    seed = torch.randn_like(x)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, z = fused(ours), plain(theirs)
    torch.testing.assert_close(y, z, rtol=1e-12, atol=1e-13)
    found = torch.autograd.grad(y, [ours, *fused.parameters()], seed)
    expected = torch.autograd.grad(z, [theirs, *plain.parameters()], seed)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(fused.state_dict(), plain.state_dict(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("slope", [0.0, 1e-3, 0.01, -0.01, -2.0, 30.0])
def test_any_slope_of_s0_has_the_gradient_of_the_plain_form_in_32_bits(slope: float) -> None:
    x, seed = features(8, 4, 5, 5), torch.randn(8, 4, 5, 5, dtype=torch.float64)
    made = layer("s0", drawn=False)
    made.v.data[1] = slope
    found = []
    for dtype, made.fused in ((torch.float32, True), (torch.float64, False)):
        made.to(dtype)
        own = x.to(dtype).requires_grad_()
        found.append(torch.autograd.grad(made(own), [own, *made.parameters()], seed.to(dtype)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-3)


@EACH
def test_gradients_of_both_orders_agree_with_finite_differences(variant: str) -> None:
    made = layer(variant, 2)
    names = [name for name, _ in made.named_parameters()]

    def call(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(made, dict(zip(names, weights, strict=True)), (x,))

    inputs = [
        features(2, 2, 2, 2).requires_grad_(),
        *(p.detach().clone().requires_grad_() for p in made.parameters()),
    ]
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@EACH
def test_gradients_flow_through_the_batch_statistics_in_training_only(variant: str) -> None:
    made = layer(variant)
    x = features(4, 4, 2, 2)

    def reach(training: bool) -> float:
        given = x.clone().requires_grad_()
        y = made.train(training)(given)
        (gradient,) = torch.autograd.grad(y[0].sum(), given)
        return float(gradient[1:].abs().max())

    assert (reach(training=True) > 0) is (variant in B)
    assert reach(training=False) == 0


@pytest.mark.parametrize("training", [True, False])
@EACH
def test_an_example_s_output_depends_on_the_batch_only_where_it_should(variant: str, training: bool) -> None:
    made = layer(variant).train(training)
    x = features()
    alone, together = copy.deepcopy(made)(x[:1]), made(x)[:1]
    assert torch.equal(alone, together) is (variant in S or not training)


def test_a_slope_of_zero_halves_and_a_weight_of_zero_leaves_the_bias() -> None:
    made = layer("s0", drawn=False)
    nn.init.zeros_(made.v)
    x = features()
    std = x.unflatten(1, (2, 2)).var((2, 3, 4), unbiased=False).add(1e-5).sqrt().repeat_interleave(2, 1)
    torch.testing.assert_close(made(x), x / (2 * std[:, :, None, None]))
    for variant in VARIANTS:
        flat = layer(variant)
        nn.init.zeros_(flat.weight)
        torch.testing.assert_close(flat(x), flat.bias.view(1, -1, 1, 1).expand_as(x))
        assert not layer(variant, drawn=False)(torch.zeros_like(x)).any()


@pytest.mark.parametrize(("variant", "invariant"), [("b0", True), ("b2", True), ("b1", False), ("s0", False)])
def test_scaling_the_input_changes_nothing_where_both_sides_scale_with_it(
    variant: str, invariant: bool
) -> None:
    made = layer(variant, eps=1e-300)
    x = features()
    assert torch.allclose(made(5 * x), made(x), rtol=1e-9) is invariant


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("variant", B)
def test_the_running_variance_is_an_exponential_average(variant: str, unbiased: bool) -> None:
    made = layer(variant, momentum=0.2, unbiased_running_var=unbiased)
    expected = torch.ones(4, dtype=torch.float64)
    for _ in range(4):
        x = features()
        made(x)
        expected = 0.8 * expected + 0.2 * x.var((0, 2, 3), unbiased=unbiased)
    made.eval()(features())
    torch.testing.assert_close(made.running_var, expected)
    other = layer(variant)
    other.load_state_dict(made.state_dict())
    x = features()
    assert torch.equal(other.eval()(x), made(x))


@pytest.mark.parametrize("variant", S)
def test_batch_independent_layers_keep_no_statistics(variant: str) -> None:
    assert not list(layer(variant).buffers())


# -- places without activation, options, faults ----------------------------------------------------------------------


@EACH
def test_without_activation_the_affine_map_is_left_or_the_division_too(variant: str) -> None:
    x = features()
    affine = layer(variant, activate=False, drawn=False)
    assert torch.equal(affine(x), x)
    assert not list(affine.buffers())
    assert affine.v is None
    normalised = layer(variant, activate=False, when_linear="normalize", drawn=False)(x).detach()
    assert float(normalised.square().mean()) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (10, 10), (7, 7), (37, 1)])
def test_groups_that_do_not_divide_the_channels_are_lowered(channels: int, groups: int) -> None:
    assert EvoNorm2d(channels).groups == groups


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"variant": "s3"}, "variant"),
        ({"channels": 0}, "channels"),
        ({"group_size": 3}, "group_size"),
        ({"groups": 0}, "groups"),
        ({"eps": 0.0}, "eps"),
        ({"momentum": 0.0}, "momentum"),
        ({"when_linear": "none"}, "when_linear"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, object], named: str) -> None:
    with pytest.raises(OptionError) as caught:
        EvoNorm2d(**{"channels": 4, **options})
    assert caught.value.option == named


def test_statistics_of_a_single_element_are_refused() -> None:
    with pytest.raises(ValueError, match="single element"):
        EvoNorm2d(4, "s0")(torch.ones(2, 4, 1, 1))
    with pytest.raises(ValueError, match="one element a channel"):
        EvoNorm2d(4, "b0")(torch.ones(1, 4, 1, 1))
    with pytest.raises(ValueError, match="takes"):
        EvoNorm2d(4)(torch.ones(2, 3, 4, 4))


@EACH
def test_one_by_one_features_of_equal_channels_stay_finite(variant: str) -> None:
    """A group of equal numbers has no variance: S0 and S1 then grow to x sigmoid(x) / sqrt(eps), as documented."""
    x = torch.full((2, 8, 1, 1), 3.0)
    y = EvoNorm2d(8, variant, group_size=8)(x)
    expected = {"b0": 1.0, "b1": 0.25, "b2": 949.0, "s0": 903.7, "s1": 903.7, "s2": 0.9526}
    assert y[0, 0].item() == pytest.approx(expected[variant], rel=0.01)


# -- precision and tools ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EACH
def test_half_precision_features_do_not_overflow(variant: str, dtype: torch.dtype, fused: bool) -> None:
    x = features(4, 16, 8, 8, dtype=torch.float32) * 300  # squares are beyond 65504
    made = EvoNorm2d(16, variant, fused=fused)
    given = x.to(dtype).requires_grad_()
    y = made(given)
    assert y.dtype is dtype
    y.float().square().mean().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(given.grad).all()
    exact = EvoNorm2d(16, variant, fused=False, dtype=torch.float64)(given.detach().double())
    torch.testing.assert_close(y.double(), exact, rtol=0.02, atol=0.05)


@EACH
def test_channels_last_features_stay_so_and_give_the_same(variant: str) -> None:
    made = layer(variant)
    x = features(3, 4, 5, 6)
    y = made(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, copy.deepcopy(made)(x))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("variant", ["b0", "s0"])
def test_activation_checkpointing_counts_each_batch_once(variant: str, reentrant: bool) -> None:
    made = layer(variant)
    once = copy.deepcopy(made)
    x = features().requires_grad_()
    checkpoint(made, x, use_reentrant=reentrant).square().sum().backward()
    given = x.detach().clone().requires_grad_()
    once(given).square().sum().backward()
    torch.testing.assert_close(x.grad, given.grad)
    torch.testing.assert_close(made.state_dict(), once.state_dict(), rtol=1e-14, atol=0)


@EACH
def test_it_is_exported_with_a_free_batch_size(variant: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), EvoNorm2d(4, variant, group_size=2)).eval()
    x = torch.randn(4, 3, 6, 6)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},))
    other = torch.randn(7, 3, 6, 6)
    torch.testing.assert_close(program.module()(other), net(other))


@pytest.mark.parametrize("variant", S)
def test_torch_func_differentiates_forwards_and_per_example(variant: str) -> None:
    made = layer(variant)
    x, direction = features(), features()
    _, slope = torch.func.jvp(made, (x,), (direction,))
    moved = (made(x + 1e-6 * direction) - made(x - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(slope, moved, rtol=1e-5, atol=1e-6)
    each = torch.func.vmap(torch.func.grad(lambda z: made(z[None]).square().sum()))(x)
    given = x.clone().requires_grad_()
    made(given).square().sum().backward()
    torch.testing.assert_close(each, given.grad)


@pytest.mark.parametrize("variant", ["b0", "s0"])
def test_it_trains_under_distributed_data_parallel(variant: str, tmp_path) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), EvoNorm2d(4, variant, group_size=2), nn.Conv2d(4, 2, 3))
        alone = copy.deepcopy(net)
        shared = nn.parallel.DistributedDataParallel(net)
        for _ in range(2):
            x = torch.randn(4, 3, 6, 6)
            # Two passes before the backward: the buffer changes in between.
            (shared(x).square().mean() + shared(x + 1).square().mean()).backward()
            (alone(x).square().mean() + alone(x + 1).square().mean()).backward()
        for one, other in zip(net.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
        torch.testing.assert_close(net.state_dict(), alone.state_dict())
    finally:
        dist.destroy_process_group()


def test_the_layer_survives_copying_and_pickling() -> None:
    import pickle

    made = layer("b0")
    x = features()
    assert torch.equal(pickle.loads(pickle.dumps(made)).eval()(x), copy.deepcopy(made).eval()(x))
    assert "b0" in repr(made)


@EACH
@BOTH
def test_training_keeps_no_more_than_batch_norm_and_relu_where_fused(variant: str, fused: bool) -> None:
    """Bytes of the features' size kept for the backward pass: the input and one more, as BatchNorm and ReLU keep."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = torch.randn(8, 16, 10, 10, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        EvoNorm2d(16, variant, fused=fused)(x)
    whole = x.numel() * x.element_size()
    arrays = sum(size >= whole for size in kept.values())
    assert arrays <= 2 if fused else arrays > 2


@EACH
@pytest.mark.parametrize("training", [True, False])
def test_it_agrees_with_timm(variant: str, training: bool) -> None:
    evo = pytest.importorskip("timm.layers.evo_norm")
    theirs = getattr(evo, f"EvoNorm2d{variant.upper()}")
    options = {"eps": 1e-5} if variant in B else {"eps": 1e-5, "group_size": 8}
    peer = theirs(32, **options).train(training)
    made = EvoNorm2d(
        32, variant, unbiased_running_var=True, **({} if variant in B else {"group_size": 8})
    ).train(training)
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, 1.0, 0.3)
        getattr(peer, name).data.copy_(parameter.view_as(getattr(peer, name)))
    if variant in B:
        made.running_var.uniform_(0.5, 2.0)
        peer.running_var.copy_(made.running_var)
    x = torch.randn(4, 32, 6, 6)
    torch.testing.assert_close(made(x), peer(x), rtol=2e-7, atol=2e-7)
    if variant in B:
        torch.testing.assert_close(made.running_var, peer.running_var)


@pytest.mark.parametrize("name", [f"evonorm_{variant}" for variant in VARIANTS])
def test_tasks_find_it_by_name(name: str) -> None:
    from autosearch.tasks.models import NormAct

    made = NormAct(norm=name)(16)
    assert (made.variant, made.channels) == (name.removeprefix("evonorm_"), 16)


def test_factories_make_both_kinds_of_layers() -> None:
    assert evonorm_b0(8).activate
    assert not evonorm_s0.linear(8).activate


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (12, 1), (64, 8), (256, 32), (512, 32)])
def test_named_layers_have_groups_of_eight_channels_or_more(channels: int, groups: int) -> None:
    assert evonorm_s0(channels).groups == groups

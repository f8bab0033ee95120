"""AutoLRS on GPUs: rollback of what lives there, and candidates on several of them."""

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from torch import nn

import autosearch
from tests.methods.autolrs.loop_code import network, train_step, val_loss
from tests.methods.autolrs.test_scheduler import OPTIONS, X, Y, loader

pytestmark = pytest.mark.gpu


@pytest.fixture
def device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


def test_candidates_on_a_gpu_leave_weights_statistics_scale_and_random_state_alone(device):
    model = network().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**4, growth_interval=3)
    scheduler = autosearch.AutoLRS(
        optimizer, model, total_steps=200, extra_state=[scaler], **{**OPTIONS["modern"], "keep_winner": False}
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = []
    for x, y in scheduler.batches(loader()):
        with torch.autocast("cuda", torch.float16):
            loss = nn.functional.mse_loss(model(x.to(device)).float(), y.to(device))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if scheduler.step(loss).stage == 0 and scheduler.controller.state.done == 0:
            states.append(torch.cuda.get_rng_state(device))
            assert scaler.get_scale() == 2.0**4
            assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        if scheduler.controller.state.phase == "train":
            break
    assert len(states) >= 3
    assert all(torch.equal(states[0], state) for state in states)


@pytest.mark.slow
def test_processes_on_each_gpu_lead_to_the_run_of_one(device):
    def run(executor):
        model = network().to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        scheduler = autosearch.AutoLRS(
            optimizer,
            model,
            total_steps=120,
            executor=executor,
            train_step=train_step,
            val_loss=functools.partial(val_loss, model, X[:16].to(device), Y[:16].to(device)),
            **OPTIONS["modern"],
        )
        torch.manual_seed(6)
        for batch in scheduler.batches([(x.to(device), y.to(device)) for x, y in loader()]):
            scheduler.step(train_step(model, optimizer, batch))
        return [choice[3] for choice in scheduler.controller.state.choices]

    count = torch.cuda.device_count()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context) as pool:
        assert run(pool) == pytest.approx(run(None), rel=1e-3)

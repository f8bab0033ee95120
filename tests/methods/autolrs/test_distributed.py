"""Two processes: the loss of rank 0 decides for both."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from torch import nn
import autosearch

rank, store = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
scheduler = autosearch.AutoLRS(optimizer, model, total_steps=80, tau=30, ratio=6, min_probe=5)
parallel = nn.parallel.DistributedDataParallel(model)
data = torch.randn(40, 4, generator=torch.Generator().manual_seed(rank))
for x in scheduler.batches(data.split(8)):
    loss = (parallel(x) - x.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step(loss)
print(scheduler.history, [round(float(w), 9) for w in model.weight.flatten()])
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_all_ranks_decide_alike(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    first, second = (process.communicate(timeout=100)[0] for process in ranks)
    assert [process.returncode for process in ranks] == [0, 0]
    assert first == second
    assert len(first.split("(")) > 3

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
# The first rank of the group decides; it need not be rank 0.
group = torch.distributed.new_group([1, 0], sort_ranks=False) if sys.argv[3] == "group" else None
scheduler = autosearch.AutoLRS(
    optimizer, model, total_steps=80, tau=30, ratio=6, min_probe=5, process_group=group
)
parallel = nn.parallel.DistributedDataParallel(model)
data = torch.randn(40, 4, generator=torch.Generator().manual_seed(rank))
for x in scheduler.batches(data.split(8)):
    loss = (parallel(x) - x.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step(loss)
print(scheduler.history, scheduler.controller.state.choices, [round(float(w), 9) for w in model.weight.flatten()])
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_all_ranks_decide_alike_by_the_first_of_their_group(tmp_path):
    default, group = (ranks(tmp_path / kind, kind) for kind in ("default", "group"))
    assert default[0] == default[1]
    assert group[0] == group[1]
    # The ranks have different data, so it shows who decides.
    assert default[0] != group[0]
    assert len(default[0].split("(")) > 3


def ranks(store, kind):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    processes = [
        subprocess.Popen([*command, str(rank), str(store), kind], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    printed = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return printed

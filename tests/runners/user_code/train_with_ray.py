"""A training function as Ray's documentation writes it."""

import json
import tempfile
import time
from pathlib import Path

from ray import tune
from ray.tune import Checkpoint


def train_func(config):
    start = 1
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as checkpoint_dir:
            start = json.loads((Path(checkpoint_dir) / "state.json").read_text())["epoch"] + 1
    for epoch in range(start, 13):
        time.sleep(0.25)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps({"epoch": epoch}))
            tune.report(
                {"loss": config["lr"] + 1 / epoch, "epoch": epoch, "start": start},
                checkpoint=Checkpoint.from_directory(folder),
            )

"""A training function as Ray Tune's documentation writes it: reports metrics and checkpoints, goes on from one."""

import tempfile
from pathlib import Path

import ray.tune
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


def train(config):
    images, labels = load_digits(return_X_y=True)
    x, x_val, y, y_val = map(
        torch.as_tensor, train_test_split(images / 16, labels, random_state=0, test_size=0.2)
    )
    x, x_val = x.float(), x_val.float()
    model = nn.Sequential(nn.Linear(64, config["width"]), nn.ReLU(), nn.Linear(config["width"], 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    first = 0
    if checkpoint := ray.tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"] + 1
    for epoch in range(first, 15):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(x_val).argmax(1) == y_val).float().mean().item()
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(folder) / "state.pt")
            checkpoint = ray.tune.Checkpoint.from_directory(folder)
            ray.tune.report({"accuracy": accuracy, "step": epoch + 1}, checkpoint=checkpoint)

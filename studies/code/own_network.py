"""Your own network: `train` is what a study tunes, `main` prunes what it found and exports it."""

import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import autosearch

EPOCHS = 8


class Net(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
        self.head = nn.Sequential(
            nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(16 * width, 10)
        )

    def forward(self, x):
        x = self.first(x)
        return self.head(torch.relu(x + self.second(x)))


def data():
    images, labels = load_digits(return_X_y=True)
    images = torch.as_tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    return train_test_split(images, torch.as_tensor(labels), random_state=0, test_size=0.2)


def epoch_of(model, optimizer, x, y):
    model.train()
    for rows in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()


def accuracy_of(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def train(config):
    x, x_val, y, y_val = data()
    shape = {"width": config["width"], "dropout": config["dropout"]}
    model = Net(**shape)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=0.9)
    first = 0
    if checkpoint := autosearch.get_checkpoint():  # after an interruption
        state = torch.load(Path(checkpoint) / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    for epoch in range(first + 1, EPOCHS + 1):
        epoch_of(model, optimizer, x, y)
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch,
            "shape": shape,
        }
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state, Path(folder) / "state.pt")
            accuracy = accuracy_of(model, x_val, y_val)
            autosearch.report({"accuracy": accuracy}, step=epoch, checkpoint=folder)


def main(folder, epochs=4):
    """Prune the network that `autosearch export STUDY FOLDER` has written, train it on, save it in two forms."""
    x, x_val, y, y_val = data()
    state = torch.load(Path(folder) / "checkpoint" / "state.pt", weights_only=True)
    model = Net(**state["shape"])
    model.load_state_dict(state["model"])
    small = autosearch.prune(model, x[:1], target={"macs": 0.4})
    network = small.model  # an ordinary network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(epochs):
        epoch_of(network, optimizer, x, y)
    print(
        f"accuracy {accuracy_of(model, x_val, y_val):.3f} with {small.before['macs']:.0f} multiply-accumulates"
    )
    print(f"accuracy {accuracy_of(network, x_val, y_val):.3f} with {small.after['macs']:.0f}")
    small.save(Path(folder) / "small")  # for autosearch.load_pruned(Net(...), "FOLDER/small")
    torch.export.save(torch.export.export(network.eval(), (x[:1],)), Path(folder) / "small.pt2")


if __name__ == "__main__":
    main(sys.argv[1])

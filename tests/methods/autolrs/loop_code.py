"""What processes that try candidates side by side import."""

import torch
from torch import nn


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))


def train_step(model, optimizer, batch):
    x, y = batch
    loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def val_loss(model, x, y):
    with torch.no_grad():
        return float(nn.functional.binary_cross_entropy_with_logits(model(x), y))

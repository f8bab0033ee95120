"""Small networks of every kind that pruning must understand."""

import torch
from torch import nn

from autosearch.methods.pruning import find_groups
from autosearch.methods.pruning.attention import split_attention
from autosearch.tasks.models import IMAGE_MODELS, LANGUAGE_MODELS, build_model


class Dense(nn.Module):
    """Concatenations, as in DenseNet."""

    def __init__(self):
        super().__init__()
        self.c0 = nn.Conv2d(3, 8, 3, padding=1)
        self.b0 = nn.BatchNorm2d(8)
        self.c1 = nn.Conv2d(8, 6, 3, padding=1)
        self.b1 = nn.BatchNorm2d(14)
        self.c2 = nn.Conv2d(14, 5, 3, padding=1)
        self.c3 = nn.Conv2d(19, 4, 1)
        self.fc = nn.Linear(4 * 16, 7)

    def forward(self, x):
        a = self.b0(self.c0(x)).relu()
        b = torch.cat([a, self.c1(a)], 1)
        c = torch.cat([b, self.c2(self.b1(b).relu())], 1)
        return self.fc(self.c3(c).relu().flatten(1))


class Grouped(nn.Module):
    """A grouped and a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.c0 = nn.Conv2d(3, 8, 3, padding=1)
        self.c1 = nn.Conv2d(8, 12, 3, padding=1, groups=4)
        self.t = nn.ConvTranspose2d(12, 6, 2, 2)
        self.c2 = nn.Conv2d(6, 5, 1)

    def forward(self, x):
        return self.c2(self.t(self.c1(self.c0(x).relu()).relu()).relu()).mean((2, 3))


class Encoder(nn.Module):
    """torch's own transformer layers."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True, dropout=0.0)
        self.enter = nn.Linear(5, 16)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.leave = nn.Linear(16, 3)

    def forward(self, x):
        return self.leave(self.encoder(self.enter(x)).mean(1))


def _image(name, shape=(1, 8, 8), **options):
    return build_model(IMAGE_MODELS, name, shape, 10, options), torch.randn(2, *shape)


def _make(name):
    if name == "vgg":
        return _image("vgg", (1, 16, 16), width=8, depth=11)
    if name == "mobilenet_v2":
        return _image("mobilenet_v2", (1, 16, 16), width=8)
    if name in IMAGE_MODELS:
        return _image(name, width=8)
    if name == "transformer":
        options = {"width": 16, "layers": 2, "heads": 4}
        return build_model(LANGUAGE_MODELS, name, (6,), 9, options), torch.randint(0, 9, (2, 6))
    if name == "encoder":
        return Encoder(), torch.randn(2, 7, 5)
    return {"dense": Dense, "grouped": Grouped}[name](), torch.randn(2, 3, 4, 4)


NAMES = (*IMAGE_MODELS, "transformer", "encoder", "dense", "grouped")


def network(name, seed=0):
    """A network with random weights and statistics, in evaluation mode, and example inputs."""
    torch.manual_seed(seed)
    model, inputs = _make(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval(), inputs


def traced(name):
    """The same with attention taken apart, and its groups."""
    model, inputs = network(name)
    model = split_attention(model)
    return model, inputs, find_groups(model, inputs)


def half(groups):
    """Every second unit of each group."""
    return [range(0, len(group), 2) for group in groups.groups]

"""The blocks of a network, one behind the other, whose features metrics compare."""

from torch import nn


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """The parts that a network runs through: members of sequences, opened as long as they are sequences of blocks.

    A container around a single part is looked through. A sequence of bare operations (convolution, norm, activation)
    stays one block.
    """
    children = list(model.children())
    while len(children) == 1 and list(children[0].children()):
        children = list(children[0].children())
    found: list[nn.Module] = []
    for child in children:
        found += find_blocks(child) if _is_chain_of_blocks(child) else [child]
    return found


def _is_chain_of_blocks(module: nn.Module) -> bool:
    if not isinstance(module, nn.Sequential | nn.ModuleList):
        return False
    return isinstance(module, nn.ModuleList) or any(list(child.children()) for child in module)

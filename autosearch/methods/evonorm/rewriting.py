"""Another forward pass for a module, and nothing else: its class's methods, attributes, names and hooks stay."""

import copy
from typing import Any, ClassVar

from torch import fx, nn


class _Rewritten(nn.Module):
    """Stands in front of a module's class with the forward pass of a graph; copies and pickles take the graph along."""

    _plain: ClassVar[type[nn.Module]]
    _traced: ClassVar[fx.Graph]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A GraphModule of the same children knows how to carry code; whoever copies it copies each child once.
        carrier = fx.GraphModule(self, copy.deepcopy(self._traced), self._plain.__name__)
        return _restored, (self._plain, carrier), super().__reduce_ex__(2)[2]


def rewrite(module: nn.Module, graph: fx.Graph) -> None:
    """Give `module` the forward pass of `graph`, which speaks of its parts, in place."""
    if isinstance(module, fx.GraphModule):
        module.graph = graph
        return
    plain: type[nn.Module] = getattr(type(module), "_plain", type(module))
    module.__class__ = _made(plain, fx.GraphModule(module, graph, plain.__name__))


def _made(plain: type[nn.Module], traced: fx.GraphModule) -> type[nn.Module]:
    own = {
        "forward": type(traced).forward,
        "_plain": plain,
        "_traced": copy.deepcopy(traced.graph),
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
    }
    return type(plain.__name__, (_Rewritten, plain), own)


def _restored(plain: type[nn.Module], traced: fx.GraphModule) -> nn.Module:
    made = _made(plain, traced)
    return made.__new__(made)

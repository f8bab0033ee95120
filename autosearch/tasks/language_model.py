"""Character language models on a text file."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from autosearch.learning import Batch
from autosearch.tasks.datasets import Dataset, check_text, load_text
from autosearch.tasks.models import LANGUAGE_MODELS, Builder
from autosearch.tasks.training import TrainingTask

_EVALUATION_BATCH = 64  # windows; bounds the memory of an evaluation


@dataclass(frozen=True, kw_only=True)
class LanguageModel(TrainingTask):
    """Trains a character language model and reports `val_perplexity` and `val_loss` (nats a character).

    The text `DATA_DIR/text/DATASET.txt` is cut into 80 % training, 10 % validation, 10 % test in its own order;
    `split_seed` has no part in that, and sizes count characters. An epoch shows as many windows of `context`
    characters as the training text has, each shifted at random. All arguments are listed at `TrainingTask`.

    Attributes:
        context: characters that the network sees at once.
        heads: of attention.
    """

    dataset: str = "tinyshakespeare"
    model: str = "lstm"
    context: int = 64
    heads: int | None = None

    models: ClassVar[Mapping[str, Builder]] = LANGUAGE_MODELS
    model_arguments: ClassVar[tuple[str, ...]] = (*TrainingTask.model_arguments, "heads")
    own_metric: ClassVar[str] = "perplexity"

    def check_data(self) -> None:
        check_text(self.dataset, self.data_dir)

    def load(self) -> Dataset:
        return load_text(
            self.dataset,
            data_dir=self.data_dir,
            context=self.context,
            train_size=self.train_size,
            val_size=self.val_size,
        )

    def network(self, data: Dataset) -> nn.Module:
        return self.build((self.context,), data.classes)

    def loss(self) -> Callable[[nn.Module, Batch], torch.Tensor]:
        return token_loss

    def examples(self, data: Dataset) -> int:
        return len(data.train[0]) // self.context

    def fetch(self, data: Dataset) -> Callable[[torch.Tensor, torch.Generator], Batch]:
        tokens, following = data.train
        last = len(tokens) - self.context
        window = torch.arange(self.context, device=tokens.device)

        def windows(indices: torch.Tensor, generator: torch.Generator) -> Batch:
            shift = torch.randint(self.context, (len(indices),), generator=generator).to(indices.device)
            places = (indices * self.context + shift).clamp_max(last)[:, None] + window
            return tokens[places], following[places]

        return windows

    def measure(self, model: nn.Module, split: Batch, data: Dataset) -> dict[str, float]:  # noqa: ARG002
        total, count = torch.zeros((), dtype=torch.float64, device=split[0].device), 0
        for tokens, following in self._windows(split):
            total += functional.cross_entropy(
                model(tokens).flatten(0, 1), following.flatten(), reduction="sum"
            )
            count += tokens.numel()
        loss = float(total) / count
        return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}

    def _windows(self, split: Batch) -> Iterator[Batch]:
        """Batches of whole windows, one behind the other; a rest shorter than a window is left out."""
        whole = len(split[0]) // self.context * self.context
        tokens, following = (part[:whole].view(-1, self.context) for part in split)
        yield from zip(
            torch.split(tokens, _EVALUATION_BATCH), torch.split(following, _EVALUATION_BATCH), strict=True
        )


def token_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the next character, nats."""
    tokens, following = batch
    return functional.cross_entropy(model(tokens).flatten(0, 1), following.flatten())

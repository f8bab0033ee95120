"""PyTorch Lightning: a callback tells the study what each epoch measured, and ends the fit where the study stops it.

The function `train` is all that a study file needs: `run: {function: "./lightning_callback.py:train"}`. It goes on from
its checkpoint when it was interrupted. Needs `pip install lightning`.
"""

import tempfile
from pathlib import Path

import lightning
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

import autosearch as asr

EPOCHS = 4


class ReportToStudy(lightning.Callback):
    """Reports the logged metrics after each validation, with a checkpoint to go on from.

    Where the study ends the trial, `report` does not return: Lightning tears the fit down and lets go.
    """

    def on_validation_end(self, trainer, module):
        if trainer.sanity_checking:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_checkpoint(Path(folder) / "fit.ckpt")
            asr.report(metrics, step=trainer.current_epoch + 1, checkpoint=folder)


class Digits(lightning.LightningModule):
    def __init__(self, width, lr):
        super().__init__()
        self.lr = lr
        self.net = torch.nn.Sequential(
            torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)
        )

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))


def train(config):
    """What a trial runs; called as `train(config)`."""
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.as_tensor(x / 16).float(), torch.as_tensor(y))
    training, validation = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[ReportToStudy()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = asr.get_checkpoint()
    trainer.fit(
        Digits(config["width"], config["lr"]),
        DataLoader(training, batch_size=64, shuffle=True),
        DataLoader(validation, batch_size=512),
        ckpt_path=None if last is None else last / "fit.ckpt",
        weights_only=True,
    )


def main(trials=6, runner="ray", storage=None):
    study = asr.Study(
        space={"lr": asr.Float(1e-4, 1e-1, log=True), "width": asr.Int(8, 128, log=True)},
        objectives={"val_loss": "minimize"},
        scheduler={"method": "asha", "min": 1, "max": EPOCHS},
        storage=storage,
    )
    study.run(train, trials=trials, runner=runner)
    print(f"best of {len(study.history)}: {study.best.values[0]:.4f} with {dict(study.best.config)}")
    return study


if __name__ == "__main__":
    main()

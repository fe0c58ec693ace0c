"""A training whose running average of the weights is what is validated, kept and used in the end."""

from __future__ import annotations

from typing import Any

from matgl_infomax.train.ema import WeightAverage
from matgl_infomax.train.module import StepModule


class AveragedModule(StepModule):
    """Steps on the weights themselves, validation on their running average; a subclass sets ``average``."""

    average: WeightAverage

    def on_fit_start(self) -> None:
        """The running average lives where the model does."""
        self.average.settle()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Take the new weights into the running average."""
        if self.completes_step(batch_idx):
            self.average.update()

    def on_train_epoch_end(self) -> None:
        """Validate, and keep, the running average: it is what predicts in the end."""
        with self.average.applied():
            super().on_train_epoch_end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running average as well."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["average"] = self.average.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the running average up again."""
        super().on_load_checkpoint(checkpoint)
        self.average.restore(checkpoint["average"])

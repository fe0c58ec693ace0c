"""What pretraining and fine-tuning share: optimiser, schedule, validation record, choice of the checkpoint."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

ParameterGroup = dict[str, Any]


def warmup_cosine(steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """Factor on the learning rate: a linear rise, then half a cosine to zero."""
    rise = max(1, round(steps * warmup_fraction))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return factor


class StepModule(LightningModule):
    """A training of a fixed number of steps that remembers its history and its best weights.

    Args:
        groups: parameter groups for AdamW, each with its learning rate.
        steps: steps of the whole run.
        weight_decay: of AdamW.
        warmup_fraction: share of the steps with a rising learning rate.
        patience: validations without improvement before it stops; 0 never stops early.
    """

    def __init__(
        self, groups: list[ParameterGroup], steps: int, weight_decay: float, warmup_fraction: float, patience: int = 0
    ) -> None:
        super().__init__()
        self.groups, self.steps, self.patience = groups, steps, patience
        self.weight_decay, self.warmup_fraction = weight_decay, warmup_fraction
        self.history: list[dict[str, float]] = []
        self.best_score = math.inf
        self.best_step = 0
        self.best_state: dict[str, Tensor] = {}
        self._train_sums: dict[str, float] = {}
        self._train_count = 0

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine to zero, stepped once per batch."""
        optimizer = torch.optim.AdamW(self.groups, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(self.steps, self.warmup_fraction))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def count(self, parts: dict[str, Tensor]) -> None:
        """Add a step's losses to the running means of this chunk."""
        for name, value in parts.items():
            self._train_sums[name] = self._train_sums.get(name, 0.0) + float(value.detach())
        self._train_count += 1

    @abstractmethod
    def validate(self) -> tuple[dict[str, float], nn.Module]:
        """Numbers of the validation part, ``score`` (lower is better) among them where there is such a part.

        Also the module whose weights are kept when the score is the best so far.
        """

    def on_train_epoch_end(self) -> None:
        """A chunk of steps is done: validate. Lightning's own loop would skip a last chunk that is shorter."""
        training = self.training
        self.eval()
        with torch.no_grad():
            self._record(*self.validate())
        self.train(training)

    def on_device(self, batches: Iterable[Any]) -> Iterable[Any]:
        """The batches where the model is."""
        return (self.transfer_batch_to_device(batch, self.device, 0) for batch in batches)

    def _record(self, validation: dict[str, float], model: nn.Module) -> None:
        """Note a validation; keep the weights if its score is the best so far."""
        train = {f"train/{k}": v / max(1, self._train_count) for k, v in self._train_sums.items()}
        self._train_sums, self._train_count = {}, 0
        step = float(self.global_step)
        self.history.append({"step": step, **train, **{f"validation/{k}": v for k, v in validation.items()}})
        # Without a validation part the last weights count: its score is never better than infinity, always as good.
        score = validation.get("score", math.inf)
        if score < self.best_score or (math.isinf(score) and math.isinf(self.best_score)):
            self.best_score, self.best_step = score, self.global_step
            self.best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        waited = sum(entry["step"] > self.best_step for entry in self.history)
        if self.patience and waited >= self.patience:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Everything a resumed run needs beside weights and optimiser; plain numbers and tensors only."""
        checkpoint["progress"] = {
            "history": self.history,
            "best_score": self.best_score,
            "best_step": self.best_step,
            "best_state": self.best_state,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up history and best weights again."""
        for name, value in checkpoint["progress"].items():
            setattr(self, name, value)

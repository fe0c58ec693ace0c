"""What pretraining and fine-tuning share: optimiser, schedule, validation record, choice of the checkpoint."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share
from matgl_infomax.train.ranks import from_all

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
        accumulate: batches per optimiser step.
    """

    def __init__(
        self,
        groups: list[ParameterGroup],
        steps: int,
        weight_decay: float,
        warmup_fraction: float,
        patience: int = 0,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.groups, self.steps, self.patience, self.accumulate = groups, steps, patience, accumulate
        self.weight_decay, self.warmup_fraction = weight_decay, warmup_fraction
        self.history: list[dict[str, float]] = []
        self.best_score = math.inf
        self.best_step = 0
        self.best_state: dict[str, Tensor] = {}
        self._train_losses: dict[str, list[Tensor]] = {}

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine to zero."""
        optimizer = torch.optim.AdamW(self.groups, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(self.steps, self.warmup_fraction))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def count(self, parts: dict[str, Tensor]) -> None:
        """Keep a batch's losses for the means of this chunk; reading them here would make a GPU wait."""
        for name, value in parts.items():
            self._train_losses.setdefault(name, []).append(value.detach())

    def share(self, batch: SiteBatch) -> Share:
        """The crystals of a batch that this process answers for."""
        return Share.of(batch, self.global_rank, self.trainer.world_size)

    def batch_number(self, batch_idx: int) -> int:
        """Number of a batch in the whole run, from its number in the chunk."""
        return self.global_step * self.accumulate + batch_idx % self.accumulate

    def completes_step(self, batch_idx: int) -> bool:
        """Whether the optimiser moved after this batch of the chunk."""
        return (batch_idx + 1) % self.accumulate == 0

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
            numbers, model = self.validate()
            self._record(numbers, model)
        self.train(training)

    def own_batches(self, batches: Sequence[Any]) -> Iterable[tuple[int, Any]]:
        """Every so many-th batch, with its number, where the model is: ranks share a validation batch by batch."""
        for number in range(self.global_rank, len(batches), self.trainer.world_size):
            yield number, self.transfer_batch_to_device(batches[number], self.device, 0)

    def _train_means(self) -> dict[str, float]:
        """Mean losses since they were last asked for, over batches and ranks."""
        means = {name: float(torch.stack(v).double().cpu().mean()) for name, v in self._train_losses.items()}
        self._train_losses = {}
        of_ranks = from_all([means])
        return {f"train/{name}": sum(entry[name] for entry in of_ranks) / len(of_ranks) for name in means}

    def _record(self, validation: dict[str, float], model: nn.Module) -> None:
        """Note a validation; keep the weights if its score is the best so far."""
        train = self._train_means()
        step = float(self.global_step)
        self.history.append({"step": step, **train, **{f"validation/{k}": v for k, v in validation.items()}})
        # Without a validation part the last weights count: its score is never better than infinity, always as good.
        score = validation.get("score", math.inf)
        if score < self.best_score or (math.isinf(score) and math.isinf(self.best_score)):
            self.best_score, self.best_step = score, self.global_step
            self.best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._stop_in_time()

    def is_over(self, progress: dict[str, Any]) -> bool:
        """Whether a run has nothing left to do: all its steps are done, or its patience is at its end.

        Args:
            progress: what it had found when it was left.
        """
        history = progress["history"]
        done = bool(history) and history[-1]["step"] >= self.steps
        return done or self._waited_enough(history, progress["best_step"])

    def _waited_enough(self, history: list[dict[str, float]], best_step: int) -> bool:
        """Whether so many validations brought nothing better that patience is at its end."""
        return self.patience > 0 and sum(entry["step"] > best_step for entry in history) >= self.patience

    def _stop_in_time(self) -> None:
        """End the run where its patience is over."""
        if self._waited_enough(self.history, self.best_step):
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Everything a resumed run needs beside weights and optimiser; plain numbers and tensors only."""
        checkpoint["progress"] = self.progress()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up history and best weights again; a run that had stopped early stays as it is."""
        self.take_up(checkpoint["progress"])
        self._stop_in_time()

    def progress(self) -> dict[str, Any]:
        """What the run has found so far: history, and the best weights with their step and score."""
        names = ("history", "best_score", "best_step", "best_state")
        return {name: getattr(self, name) for name in names}

    def take_up(self, progress: dict[str, Any]) -> None:
        """Go on from there."""
        for name, value in progress.items():
            setattr(self, name, value)

"""What pretraining and fine-tuning share: optimiser, schedule, validation record, choice of the checkpoint."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share
from matgl_infomax.errors import DivergedError
from matgl_infomax.train.ranks import from_all, is_first

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
        self.groups = groups
        self.steps = steps
        self.patience = patience
        self.accumulate = accumulate
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
        self._refuse_divergence({**train, **{k: v for k, v in validation.items() if k == "score"}})
        found = {**train, **{f"validation/{k}": v for k, v in validation.items()}}
        self.history.append({"step": step, **found})
        for logger in self.loggers if is_first() else ():
            logger.log_metrics(found, step=int(step))
        # Without a validation part the last weights count: its score is never better than infinity, always as good.
        score = validation.get("score", math.inf)
        if score < self.best_score or (math.isinf(score) and math.isinf(self.best_score)):
            self.best_score, self.best_step = score, self.global_step
            self.best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._stop_in_time()

    def _refuse_divergence(self, losses: dict[str, float]) -> None:
        """Stop where a loss is no finite number: no later step can mend the weights.

        Raises:
            DivergedError: With the step and the value.
        """
        for name, value in losses.items():
            if not math.isfinite(value):
                what = f"The training diverged: {name} is {value} at step {self.global_step} of {self.steps}"
                raise DivergedError(f"{what}. Lower the learning rate, or look for labels that are far off.")

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


# A running average of the weights, whose predictions are steadier than those of the last step.


class WeightAverage:
    """Exponential moving average of a model's parameters.

    The average starts as the mean of the first steps (decay rises from 0 to its value), so that the initial weights
    do not linger in short runs.

    Args:
        model: whose parameters are averaged.
        decay: weight of the past in one update; 0 makes the average the present.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.steps = 0
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._kept: dict[str, Tensor] | None = None

    def settle(self) -> None:
        """Move the average to where the model is, into memory that no other process shares."""
        for name, parameter in self.model.named_parameters():
            self.average[name] = self.average[name].to(parameter.device, copy=True)

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in."""
        self._must_not_be_swapped()
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10.0)) if self.decay else 0.0
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model carries the average; afterwards its own weights again."""
        self._must_not_be_swapped()
        self._kept = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._load(self.average)
        try:
            yield
        finally:
            self._load(self._kept)
            self._kept = None

    def state(self) -> dict[str, object]:
        """Plain tensors and numbers for a checkpoint."""
        self._must_not_be_swapped()
        return {"steps": self.steps, "average": self.average}

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        self.steps = int(state["steps"])  # type: ignore[call-overload]
        self.average = {name: value.clone() for name, value in state["average"].items()}  # type: ignore[attr-defined]

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])

    def _must_not_be_swapped(self) -> None:
        # An update or a checkpoint in between would mix the average with the weights it stands in for.
        if self._kept is not None:
            raise RuntimeError("The averaged weights are in the model; leave `applied()` first.")


# A training whose running average of the weights is what is validated, kept and used in the end.


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

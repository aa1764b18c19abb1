"""Learning rates over a training whose length may become known only after it has begun."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


class _Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly, then falls as `fall` says.

    Args:
        peak: highest learning rate.
        warmup: fraction of the steps before the peak.
        start: of the peak, before the first step.
        total_steps: length of the training; a scalar variable of the optimizer where the length
            becomes known only after the step has been compiled.
    """

    def __init__(
        self, peak: float, warmup: float = 0.0, start: float = 0.0, total_steps: Any = 1
    ) -> None:
        self.peak = peak
        self.warmup = warmup
        self.start = start
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        done = (ops.cast(step, "float32") + 1) / ops.cast(self.total_steps, "float32")
        done = ops.minimum(done, 1.0)
        rise = self.start + (1 - self.start) * done / max(self.warmup, 1e-12)
        return self.peak * ops.where(done < self.warmup, rise, self.fall(done))

    def fall(self, done: Any) -> Any:
        """Fraction of the peak after a fraction of the training."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup": self.warmup,
            "start": self.start,
            "total_steps": int(ops.convert_to_numpy(self.total_steps)),
        }


@keras.saving.register_keras_serializable("keras_vitcnn")
class WarmupCosine(_Warmup):
    """Falls along half a cosine to `final_rate` of the peak at the last step."""

    def __init__(self, peak: float, *, final_rate: float = 0.0, **options: Any) -> None:
        super().__init__(peak, **options)
        self.final_rate = final_rate

    def fall(self, done: Any) -> Any:
        falling = (done - self.warmup) / (1 - self.warmup)
        cosine = 0.5 * (1 + ops.cos(np.pi * falling))
        return self.final_rate + (1 - self.final_rate) * cosine

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"final_rate": self.final_rate}


@keras.saving.register_keras_serializable("keras_vitcnn")
class WarmupSteps(_Warmup):
    """A tenth of what it was after each of `milestones`, fractions of the training."""

    def __init__(self, peak: float, *, milestones: tuple[float, ...] = (), **options: Any) -> None:
        super().__init__(peak, **options)
        self.milestones = tuple(milestones)

    def fall(self, done: Any) -> Any:
        # The first step after a milestone is the first with the smaller rate.
        before = done - 1 / ops.cast(self.total_steps, "float32")
        passed = [ops.cast(before >= milestone - 1e-6, "float32") for milestone in self.milestones]
        return ops.power(0.1, sum(passed, start=ops.zeros(())))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"milestones": list(self.milestones)}

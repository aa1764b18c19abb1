"""Looks on while `fit` runs: progress, time, and losses that are not finite."""

from __future__ import annotations

import math
import time
from typing import Any

import keras

from keras_vitcnn.training.progress import Reporter

LOOK_SECONDS = 0.5  # between two readings of the loss


class Watch(keras.callbacks.Callback):
    """Shows the progress, times the steps, and stops at a loss that is not finite or a deadline.

    Args:
        reporter: of the progress, with the `task` of its bar.
        seconds: after which to stop, at the end of a step; never by default.
    """

    def __init__(
        self, reporter: Reporter | None = None, task: Any = None, seconds: float = math.inf
    ) -> None:
        super().__init__()
        self.reporter = reporter
        self.task = task
        self.limit = seconds
        self.loss = math.nan  # mean of the steps
        self.steps = 0
        self.seconds = 0.0
        self.failed_step: int | None = None  # the first whose loss was not finite, from 0
        self.begun: list[float] = []  # when each step began
        self._looked = 0.0
        self._unread: list[Any] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.begun.append(time.perf_counter())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.reporter:
            self.reporter.bars.advance(self.task)
        now = time.perf_counter()
        self._unread.append(logs["loss"])
        if now - self._looked > LOOK_SECONDS:  # reading waits for the device: not at every step
            self._looked = now
            self._look()
        if now - self.begun[0] > self.limit:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._look()
        self.loss = float(logs["loss"])
        self.seconds = time.perf_counter() - self.begun[0]

    def _look(self) -> None:
        """The loss is the mean since the start, so that it never becomes finite again."""
        if not self._unread:
            return
        self.loss = float(self._unread[-1])
        if not math.isfinite(self.loss) and self.failed_step is None:
            finite = [math.isfinite(float(loss)) for loss in self._unread]
            self.failed_step = self.steps - len(finite) + finite.index(False)
            self.model.stop_training = True
        self._unread.clear()

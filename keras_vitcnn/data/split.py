"""Stratified, seeded choices among labelled images."""

from __future__ import annotations

import numpy as np


def stratified(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` indices, sorted, in which every class keeps its share.

    A smaller choice with the same seed is part of a larger one, and as long as `count` is at least
    the number of classes, every class is present.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    share = np.empty(len(labels))  # of its class that is chosen before an image
    for label in np.unique(labels):
        members = order[labels[order] == label]
        share[members] = np.arange(len(members)) / len(members)
    return np.sort(order[np.argsort(share[order], kind="stable")][:count])


def train_val_split(
    labels: np.ndarray, fraction: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation images: disjoint, together all of them."""
    count = max(round(fraction * len(labels)), len(np.unique(labels)))
    val = stratified(labels, count, seed)
    return np.setdiff1d(np.arange(len(labels)), val), val

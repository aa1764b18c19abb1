"""What is done to whole batches of pixels: random erasing, mixup and cutmix."""

from __future__ import annotations

import math

import numpy as np

from keras_vitcnn.layers.image_normalization import IMAGENET_MEAN, IMAGENET_STD

ERASED = (0.02, 1 / 3)  # share of the image's area
ASPECT = (0.3, 1 / 0.3)
TRIES = 10


def erase(image: np.ndarray, rng: np.random.Generator) -> None:
    """Overwrite a random rectangle of a float image (h, w, 3) in [0, 255] with noise, in place.

    Every pixel gets a draw of its own, normal with ImageNet's mean and deviation: what is a
    standard normal draw where images are normalised. Source: arXiv:1708.04896, as in timm.
    """
    height, width = image.shape[:2]
    for _ in range(TRIES):
        area = rng.uniform(*ERASED) * height * width
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rows < height and columns < width:
            top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
            noise = rng.standard_normal((rows, columns, 3), "float32")
            part = np.array(IMAGENET_MEAN, "float32") + np.array(IMAGENET_STD, "float32") * noise
            image[top : top + rows, left : left + columns] = 255 * part
            return


def mix(
    images: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    *,
    mixup: float,
    cutmix: float,
    switch: float = 0.5,
    probability: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mix every image of a batch with its mirror image in the batch's order, all at one ratio.

    Args:
        images: (b, h, w, c) in [0, 255], changed in place.
        labels: (b, classes), one-hot.
        rng: where the ratio and the box come from; nothing else of the batch does.
        mixup: parameter of the Beta distribution of mixup's ratio; 0 for no mixup.
        cutmix: likewise of cutmix.
        switch: probability of cutmix where both are asked for.
        probability: of mixing this batch at all.

    Returns:
        Images and float32 labels; what went in if nothing is mixed.

    Source: arXiv:1710.09412, arXiv:1905.04899, as in timm's `Mixup` by batches.
    """
    drawn, switched = rng.random(2)
    if drawn >= probability or not (mixup or cutmix):
        return images, labels
    cut = bool(cutmix) and (not mixup or switched < switch)
    alpha = cutmix if cut else mixup
    ratio = rng.beta(alpha, alpha)
    # Pair by pair: a second batch would be fresh memory, which costs several times the arithmetic.
    pairs = [(images[i], images[-1 - i]) for i in range((len(images) + 1) // 2)]
    if cut:
        rows, columns = _box(images.shape[1:3], ratio, rng)
        for first, last in pairs:
            box = first[rows, columns].copy()
            first[rows, columns] = last[rows, columns]
            last[rows, columns] = box
        inside = (rows.stop - rows.start) * (columns.stop - columns.start)
        ratio = 1 - inside / math.prod(images.shape[1:3])
    else:
        kept, given = np.float32(ratio), np.float32(1 - ratio)
        for first, last in pairs:
            mixed = first * kept + last * given
            last[...] = last * kept + first * given
            first[...] = mixed
    return images, (labels * ratio + labels[::-1] * (1 - ratio)).astype("float32")


def _box(size: tuple[int, ...], ratio: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box of 1 - ratio of the area around any pixel, cut off at the edges."""
    slices = []
    for side in size:
        centre, length = int(rng.integers(side)), int(side * math.sqrt(1 - ratio))
        slices.append(slice(max(centre - length // 2, 0), min(centre + (length + 1) // 2, side)))
    return slices[0], slices[1]

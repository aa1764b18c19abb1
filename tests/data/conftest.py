from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """image_folder(cat=5, dog=3) -> a folder of PNGs, one grey level per class and image."""

    def make(root: str = "photos", size: tuple[int, int] = (12, 10), **counts: int) -> Path:
        for label, (name, count) in enumerate(counts.items()):
            folder = tmp_path / root / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.full((size[1], size[0], 3), 100 * label + number, "uint8")
                Image.fromarray(pixels).save(folder / f"{number}.png")
        return tmp_path / root

    return make

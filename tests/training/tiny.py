"""Two models of one block each, for tests that train, also in other processes."""

from collections.abc import Callable
from dataclasses import replace
from operator import setitem

from keras_vitcnn.models import registry
from tests.helpers import TINY

MODELS = {
    "TinyResNet": replace(TINY["resnet"], depths=(1,), widths=(8,), strides=(1,)),
    "TinyViT": replace(TINY["vit"], depth=1),
}


def register(setter: Callable[[dict, str, object], None] = setitem) -> None:
    """Add the models to the zoo, by `setter(zoo, name, row)`."""
    for name, config in MODELS.items():
        row = registry.Variant(
            name=name,
            config=config,
            constructor=None,
            source="these tests",
            timm=(),
            alias=name.lower(),
        )
        setter(registry.VARIANTS, name, row)

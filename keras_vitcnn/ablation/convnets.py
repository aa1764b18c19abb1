"""The roads between ConvNets: ResNet to ConvNeXt (arXiv:2201.03545), ResNet to GResNet."""

from __future__ import annotations

from keras_vitcnn.ablation.road import Road, Row, row, walk
from keras_vitcnn.models import config_of

# ResNet's own training; what a road's other steps are trained with is the user's choice.
PLAIN = "sgd"


def resnet50_to_convnext_tiny() -> Road:
    """Section 2 of arXiv:2201.03545, in the regime of ResNet-50."""
    return walk(
        "resnet50-to-convnext-tiny",
        "ResNet-50 to ConvNeXt-T",
        config_of("ResNet50"),
        [
            row("ResNet-50", "as PyTorch has it, trained as in its days", recipe=PLAIN),
            row("training recipe", "the same network under a modern recipe"),
            row("stage ratio", "blocks per stage 3:3:9:3, near Swin's 1:1:3:1", _ratio(9)),
            *_modernized(96),
        ],
    )


def resnet200_to_convnext_base() -> Road:
    """The same in the regime of ResNet-200."""
    return walk(
        "resnet200-to-convnext-base",
        "ResNet-200 to ConvNeXt-B",
        config_of("ResNet200"),
        [
            row("ResNet-200", "trained as in its days", recipe=PLAIN),
            row("training recipe", "the same network under a modern recipe"),
            row(
                "stage ratio and width",
                "blocks per stage 3:3:27:3, and so wide that the cost stays",
                _ratio(27) | _widths(84),
            ),
            *_modernized(128),
        ],
    )


def resnet50_to_gresnet50() -> Road:
    """ "Vision Transformers are Overrated", a blog post: a ResNet with today's details."""
    return walk(
        "resnet50-to-gresnet50",
        "ResNet-50 to GResNet",
        config_of("ResNet50"),
        [
            row("ResNet-50", "as torchvision has it"),
            row("training recipe", "the same network under a longer, modern recipe"),
            row(
                "tiered stem",
                "three 3 x 3 convolutions of 32, 64 and 128 channels for the 7 x 7 one",
                {"stem": "tiered", "stem_width": 128},
            ),
            row("stride placement", "on a block's 3 x 3: torchvision's ResNet-50 has it there"),
            row(
                "no max pooling",
                "the first block strides instead",
                {"pool": False, "strides": (2, 2, 2, 2)},
            ),
            row(
                "pooled shortcuts",
                "2 x 2 average pooling before a shortcut's 1 x 1, which no longer strides",
                {"shortcut": "pool"},
            ),
            row("SiLU", "for ReLU", {"activation": "silu"}),
            row(
                "split norm",
                "batch norm cut in two: statistics before each convolution, scale behind it",
                {"norm": "split"},
            ),
        ],
    )


def _modernized(width: int) -> list[Row]:
    """From the patchify stem to ConvNeXt: what both regimes have in common."""
    return [
        row(
            "patchify stem",
            "one 4 x 4 convolution of stride 4 for 7 x 7 and pooling",
            {"stem": "patch", "stem_stride": 4, "pool": False},
        ),
        row(
            "depthwise convolution",
            "the 3 x 3 convolutions work on each channel alone",
            {"mixer": "depthwise"},
        ),
        row("width", f"{width} channels in the first stage, Swin's", _widths(width)),
        row("inverted bottleneck", "blocks wide in their middle", {"shape": "inverted"}),
        row(
            "depthwise moved up",
            "before both 1 x 1 convolutions, on fewer channels",
            {"mixer_first": True},
        ),
        row("kernel 5", "of the depthwise convolution", {"kernel": 5}, adopted=False),
        row("kernel 7", "of the depthwise convolution", {"kernel": 7}),
        row("kernel 9", "of the depthwise convolution", {"kernel": 9}, adopted=False),
        row("kernel 11", "of the depthwise convolution", {"kernel": 11}, adopted=False),
        row("GELU", "for ReLU", {"activation": "gelu"}),
        row(
            "fewer activations",
            "one per block, between its 1 x 1 convolutions",
            {"activations": "one"},
        ),
        row("fewer norms", "one per block, behind its depthwise convolution", {"norms": "one"}),
        row("layer norm", "for batch norm", {"norm": "layer"}),
        row(
            "separate downsampling",
            "norm and 2 x 2 convolution between stages, norms behind stem and pooling; biases and "
            "layer scale as in the released model",
            {"downsample": "between", "bias": True, "layer_scale": 1e-6},
        ),
    ]


def _ratio(third: int) -> dict[str, tuple[int, ...]]:
    return {"depths": (3, 3, third, 3)}


def _widths(first: int) -> dict[str, tuple[int, ...]]:
    return {"widths": (first, 2 * first, 4 * first, 8 * first)}

"""The roads from a Transformer towards convolution: ViT_P to ViT_C, DeiT to ConViT."""

from __future__ import annotations

from functools import partial

from keras_vitcnn.ablation.road import Road, row, walk
from keras_vitcnn.models import config_of


def vit_p_to_vit_c(size: str) -> Road:
    """Section 5 of arXiv:2106.14881: a stem of convolutions, paid for with one block."""
    start, end = config_of(f"ViTP{size}"), config_of(f"ViTC{size}")
    return walk(
        f"vit-p-{size.lower()}-to-vit-c-{size.lower()}",
        f"ViT_P-{size} to ViT_C-{size}",
        start,
        [
            row(f"ViT_P-{size}", "16 x 16 patches"),
            row(
                "convolutional stem",
                "3 x 3 convolutions with batch norm and ReLU, then 1 x 1, for the patches",
                {
                    "stem_widths": end.stem_widths,
                    "stem_strides": end.stem_strides,
                    "patch_size": 1,
                },
            ),
            row("one block fewer", "about what the stem costs", {"depth": start.depth - 1}),
        ],
    )


VIT_P_TO_VIT_C = [partial(vit_p_to_vit_c, size) for size in ("1GF", "4GF", "18GF", "36GF")]


def deit_small_to_convit_small_plus() -> Road:
    """Table 3 of arXiv:2103.10697, from row e to row a, with what lies between e and d spelt out.

    Its rows f and g freeze the attention of the local blocks while training: no change of design.
    """
    return walk(
        "deit-small-to-convit-small-plus",
        "DeiT-S to ConViT-S+",
        config_of("DeiTSmall16"),
        [
            row("DeiT-S", "six heads"),
            row(
                "nine heads",
                "as many as a 3 x 3 convolution has taps, still of 64 channels",
                {"num_heads": 9, "width": 576},
            ),
            row("no attention bias", "on queries, keys and values", {"qkv_bias": False}),
            row(
                "late class token",
                "joins before the last two blocks, without a position",
                {"class_token_block": 10, "class_token_position": False},
            ),
            row(
                "local blocks",
                "ten blocks of gated positional attention, random start, gates kept at a half",
                {
                    "local_blocks": 10,
                    "locality_strength": None,
                    "gate_init": 0.0,
                    "train_gate": False,
                },
            ),
            row(
                "trained gates, random start",
                "the gates learn, the positions start at random",
                {"gate_init": 1.0, "train_gate": True},
                adopted=False,
            ),
            row(
                "convolutional start",
                "heads begin as the taps of a convolution",
                {"locality_strength": 1.0},
            ),
            row("trained gates", "the gates learn", {"gate_init": 1.0, "train_gate": True}),
        ],
    )

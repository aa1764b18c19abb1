"""Layer names are a contract: published weights and user code find layers by them."""

import re
from dataclasses import replace

import numpy as np
import pytest

import keras_vitcnn as kv
from tests.helpers import TINY, randomize, to_numpy

CONVNEXT = """
image normalization
stem_conv0 stem_conv0_norm
stage0_block0_dw stage0_block0_dw_norm stage0_block0_pw1 stage0_block0_pw2
stage0_block0_scale stage0_block0_drop stage0_block0_add
stage1_downsample_norm stage1_downsample
stage1_block0_dw stage1_block0_dw_norm stage1_block0_pw1 stage1_block0_pw2
stage1_block0_scale stage1_block0_drop stage1_block0_add
stage1_block1_dw stage1_block1_dw_norm stage1_block1_pw1 stage1_block1_pw2
stage1_block1_scale stage1_block1_drop stage1_block1_add
pool head_norm head_dropout head predictions
"""
RESNET_D = """
image normalization
stem_conv0_pad stem_conv0 stem_conv0_norm stem_conv0_act
stem_conv1 stem_conv1_norm stem_conv1_act
stem_conv2 stem_conv2_norm stem_conv2_act
stem_pool_pad stem_pool
stage0_block0_pw1 stage0_block0_pw1_norm stage0_block0_pw1_act
stage0_block0_conv stage0_block0_conv_norm stage0_block0_conv_act
stage0_block0_pw2 stage0_block0_pw2_norm
stage0_block0_shortcut stage0_block0_shortcut_norm
stage0_block0_drop stage0_block0_add stage0_block0_out
stage1_block0_pw1 stage1_block0_pw1_norm stage1_block0_pw1_act
stage1_block0_conv_pad stage1_block0_conv stage1_block0_conv_norm stage1_block0_conv_act
stage1_block0_pw2 stage1_block0_pw2_norm
stage1_block0_shortcut_pool stage1_block0_shortcut stage1_block0_shortcut_norm
stage1_block0_drop stage1_block0_add stage1_block0_out
stage1_block1_pw1 stage1_block1_pw1_norm stage1_block1_pw1_act
stage1_block1_conv stage1_block1_conv_norm stage1_block1_conv_act
stage1_block1_pw2 stage1_block1_pw2_norm
stage1_block1_drop stage1_block1_add stage1_block1_out
pool head_dropout head predictions
"""
GRESNET = """
image normalization
stem_conv0_whiten stem_conv0_pad stem_conv0 stem_conv0_norm stem_conv0_act
stem_conv1_whiten stem_conv1 stem_conv1_norm stem_conv1_act
stem_conv2_whiten stem_conv2 stem_conv2_norm stem_conv2_act
stage0_block0_pw1_whiten stage0_block0_pw1 stage0_block0_pw1_norm stage0_block0_pw1_act
stage0_block0_conv_whiten stage0_block0_conv_pad stage0_block0_conv stage0_block0_conv_norm
stage0_block0_conv_act
stage0_block0_pw2_whiten stage0_block0_pw2 stage0_block0_pw2_norm
stage0_block0_shortcut_pool stage0_block0_shortcut_whiten stage0_block0_shortcut
stage0_block0_shortcut_norm
stage0_block0_drop stage0_block0_add stage0_block0_out
stage1_block0_pw1_whiten stage1_block0_pw1 stage1_block0_pw1_norm stage1_block0_pw1_act
stage1_block0_conv_whiten stage1_block0_conv_pad stage1_block0_conv stage1_block0_conv_norm
stage1_block0_conv_act
stage1_block0_pw2_whiten stage1_block0_pw2 stage1_block0_pw2_norm
stage1_block0_shortcut_pool stage1_block0_shortcut_whiten stage1_block0_shortcut
stage1_block0_shortcut_norm
stage1_block0_drop stage1_block0_add stage1_block0_out
pool head_dropout head predictions
"""
CONVIT = """
image normalization
patch_embed pos_embed
block0_norm1 block0_qk block0_v block0_attn block0_proj block0_drop1 block0_add1
block0_norm2 block0_fc1 block0_fc2 block0_drop2 block0_add2
cls_token
block1_norm1 block1_qkv block1_attn block1_proj block1_drop1 block1_add1
block1_norm2 block1_fc1 block1_fc2 block1_drop2 block1_add2
norm head_dropout head predictions
"""
EFFICIENTNET = """
image normalization
stem_conv0 stem_conv0_norm stem_conv0_act
stage0_block0_dw stage0_block0_dw_norm stage0_block0_dw_act stage0_block0_se
stage0_block0_pw2 stage0_block0_pw2_norm stage0_block0_drop stage0_block0_add
stage1_block0_pw1 stage1_block0_pw1_norm stage1_block0_pw1_act
stage1_block0_dw stage1_block0_dw_norm stage1_block0_dw_act stage1_block0_se
stage1_block0_pw2 stage1_block0_pw2_norm
stage1_block1_pw1 stage1_block1_pw1_norm stage1_block1_pw1_act
stage1_block1_dw stage1_block1_dw_norm stage1_block1_dw_act stage1_block1_se
stage1_block1_pw2 stage1_block1_pw2_norm stage1_block1_drop stage1_block1_add
head_conv head_conv_norm head_conv_act pool head_dropout head predictions
"""
REGNET_Z = """
image normalization
stem_conv0_pad stem_conv0 stem_conv0_norm stem_conv0_act
stage0_block0_pw1 stage0_block0_pw1_norm stage0_block0_pw1_act
stage0_block0_conv stage0_block0_conv_norm stage0_block0_conv_act stage0_block0_se
stage0_block0_pw2 stage0_block0_pw2_norm stage0_block0_drop stage0_block0_add
stage1_block0_pw1 stage1_block0_pw1_norm stage1_block0_pw1_act
stage1_block0_conv stage1_block0_conv_norm stage1_block0_conv_act stage1_block0_se
stage1_block0_pw2 stage1_block0_pw2_norm
head_conv head_conv_norm head_conv_act pool head_dropout head predictions
"""
BIT = """
image normalization
stem_conv0_pad stem_conv0 stem_pool_pad stem_pool
stage0_block0_pw1_norm stage0_block0_pw1_act stage0_block0_pw1
stage0_block0_conv_norm stage0_block0_conv_act stage0_block0_conv
stage0_block0_pw2_norm stage0_block0_pw2_act stage0_block0_pw2
stage0_block0_drop stage0_block0_add
stage1_block0_pw1_norm stage1_block0_pw1_act stage1_block0_pw1
stage1_block0_conv_norm stage1_block0_conv_act stage1_block0_conv_pad stage1_block0_conv
stage1_block0_pw2_norm stage1_block0_pw2_act stage1_block0_pw2
stage1_block0_shortcut stage1_block0_drop stage1_block0_add
head_norm head_act pool head_dropout head predictions
"""
SWIN = """
image normalization
stem_conv0 stem_conv0_norm
stage0_block0_norm1 stage0_block0_shift stage0_block0_qkv stage0_block0_attn
stage0_block0_unshift stage0_block0_proj stage0_block0_drop1 stage0_block0_add1
stage0_block0_norm2 stage0_block0_fc1 stage0_block0_fc2 stage0_block0_drop2 stage0_block0_add2
stage0_block1_norm1 stage0_block1_shift stage0_block1_qkv stage0_block1_attn
stage0_block1_unshift stage0_block1_proj stage0_block1_drop1 stage0_block1_add1
stage0_block1_norm2 stage0_block1_fc1 stage0_block1_fc2 stage0_block1_drop2 stage0_block1_add2
stage1_downsample_merge stage1_downsample_norm stage1_downsample
stage1_block0_norm1 stage1_block0_shift stage1_block0_qkv stage1_block0_attn
stage1_block0_unshift stage1_block0_proj stage1_block0_drop1 stage1_block0_add1
stage1_block0_norm2 stage1_block0_fc1 stage1_block0_fc2 stage1_block0_drop2 stage1_block0_add2
norm pool head_dropout head predictions
"""
MOBILEVIT = """
image normalization
stem_conv0_pad stem_conv0 stem_conv0_norm stem_conv0_act
stage0_block0_pw1 stage0_block0_pw1_norm stage0_block0_pw1_act
stage0_block0_dw stage0_block0_dw_norm stage0_block0_dw_act
stage0_block0_pw2 stage0_block0_pw2_norm stage0_block0_drop stage0_block0_add
stage1_block0_pw1 stage1_block0_pw1_norm stage1_block0_pw1_act
stage1_block0_dw stage1_block0_dw_norm stage1_block0_dw_act
stage1_block0_pw2 stage1_block0_pw2_norm
stage1_vit_local stage1_vit_local_norm stage1_vit_local_act stage1_vit_in stage1_vit_unfold
stage1_vit_block0_norm1 stage1_vit_block0_qkv stage1_vit_block0_attn stage1_vit_block0_proj
stage1_vit_block0_drop1 stage1_vit_block0_add1
stage1_vit_block0_norm2 stage1_vit_block0_fc1 stage1_vit_block0_fc2
stage1_vit_block0_drop2 stage1_vit_block0_add2
stage1_vit_norm stage1_vit_fold stage1_vit_out stage1_vit_out_norm stage1_vit_out_act
stage1_vit_concat stage1_vit_fuse stage1_vit_fuse_norm stage1_vit_fuse_act
head_conv head_conv_norm head_conv_act pool head_dropout head predictions
"""
TWO_STAGES = {"depths": (1, 2), "widths": (8, 16), "strides": (1, 2)}
FROZEN = {
    "convnext": (replace(TINY["convnext"], **TWO_STAGES), CONVNEXT),
    "resnet_d": (replace(TINY["resnet_d"], **TWO_STAGES), RESNET_D),
    "gresnet": (TINY["gresnet"], GRESNET),
    "convit": (TINY["convit"], CONVIT),
    "efficientnet": (TINY["efficientnet"], EFFICIENTNET),
    "regnet_z": (TINY["regnet_z"], REGNET_Z),
    "bit": (TINY["bit"], BIT),
    "swin": (TINY["swin"], SWIN),
    "mobilevit": (TINY["mobilevit"], MOBILEVIT),
}
WEIGHTS = {  # the variables of every kind of layer, below the layer's name
    "convnext": {
        "stem_conv0/kernel",
        "stage0_block0_dw/kernel",
        "stage0_block0_dw_norm/gamma",
        "stage0_block0_pw1/bias",
        "stage0_block0_scale/gamma",
        "stage1_downsample/kernel",
        "head_norm/beta",
        "head/kernel",
    },
    "gresnet": {
        "stem_conv0_whiten/moving_mean",
        "stem_conv0_whiten/moving_variance",
        "stage0_block0_conv_norm/gamma",
        "stage0_block0_conv_norm/beta",
        "stage0_block0_shortcut/kernel",
    },
    "convit": {
        "patch_embed/projection/kernel",
        "patch_embed/projection/bias",
        "pos_embed/embedding",
        "cls_token/token",
        "block0_attn/position_kernel",
        "block0_attn/position_bias",
        "block0_attn/gate",
        "block0_qk/kernel",
        "block0_v/kernel",
        "block1_qkv/kernel",
        "block1_proj/bias",
        "norm/gamma",
    },
    "efficientnet": {
        "stage0_block0_se/reduce/kernel",
        "stage0_block0_se/expand/bias",
        "stage1_block0_dw_norm/moving_variance",
        "head_conv/kernel",
    },
    "swin": {
        "stage0_block0_attn/relative_position",
        "stage0_block0_qkv/bias",
        "stage1_downsample/kernel",
        "norm/beta",
    },
}


def build(config, **options):
    return kv.build(config, input_shape=(16, 16, 3), classes=3, **options)


@pytest.mark.parametrize("name", list(FROZEN))
def test_layer_names(name):
    config, names = FROZEN[name]
    model = build(config, drop_path_rate=0.1, dropout_rate=0.1)
    assert sorted(layer.name for layer in model.layers) == sorted(names.split())


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_weight_names(name):
    assert {weight.path for weight in build(FROZEN[name][0]).weights} >= WEIGHTS[name]


def test_names_of_the_rest_of_the_transformers():
    names = {layer.name for layer in build(TINY["deit_distilled"]).layers}
    assert {"dist_token", "head_dist", "head_mean"} <= names
    names = {layer.name for layer in build(TINY["deit3"]).layers}
    assert {"block0_scale1", "block0_scale2"} <= names
    names = {layer.name for layer in build(TINY["vit_c"]).layers}
    assert {"stem_conv0", "stem_conv0_norm", "stem_conv0_act", "stem_conv1"} <= names


@pytest.mark.parametrize("name", list(TINY))
def test_one_grammar(name):
    grammar = (
        r"image|normalization|pool|head|head_(norm|act|dropout|dist|dist_dropout|mean)|predictions"
        r"|head_conv(_norm|_act)?"
        r"|stem_(conv\d|pool)(_(whiten|pad|norm|act))?"
        r"|stage\d+_downsample(_merge|_norm)?"
        r"|stage\d+_block\d+_(dw|conv\d?|pw\d|shortcut)(_(whiten|pad|pool|norm|act))?"
        r"|stage\d+_block\d+_(grn|se|scale|drop|add|out|shift|unshift)"
        r"|stage\d+_vit_(in|unfold|norm|fold|concat|(local|out|fuse)(_norm|_act)?)"
        r"|patch_embed|pos_embed|(cls|dist)_token|norm"
        r"|(stage\d+_(vit_)?)?block\d+_((norm|fc|scale|drop|add)[12]|qkv|qk|v|attn|proj)"
        r"|get_item(_\d+)?"
    )
    names = [layer.name for layer in build(TINY[name], drop_path_rate=0.1).layers]
    assert [n for n in names if not re.fullmatch(grammar, n)] == []


@pytest.mark.parametrize(
    "name", ["convnext", "resnet_d", "gresnet", "convit", "efficientnet", "swin", "mobilevit"]
)
def test_recomputed_blocks_have_the_same_weight_names(name):
    plain, recomputed = (build(TINY[name], remat=remat) for remat in (False, True))
    assert {w.path for w in recomputed.weights} == {w.path for w in plain.weights}


@pytest.mark.parametrize("name", ["convnext", "resnet", "resnet_d", "gresnet", "vit", "convit"])
def test_weights_of_a_regularised_model_fit_the_plain_one(name, tmp_path):
    """What is trained with drop path is used without: neither rate adds or moves a weight."""
    trained = build(TINY[name], drop_path_rate=0.1, dropout_rate=0.1)
    randomize(trained)
    trained.save_weights(tmp_path / "trained.weights.h5")
    plain = build(TINY[name], weights=tmp_path / "trained.weights.h5")
    expected = {weight.path: weight for weight in trained.weights}
    for weight in plain.weights:
        np.testing.assert_array_equal(
            to_numpy(weight), to_numpy(expected[weight.path]), err_msg=weight.path
        )

"""Images in: scikit-learn's digits, folders, tensorflow-datasets; batches out, for any backend."""

from keras_vitcnn.data.augmentation import Augmentation
from keras_vitcnn.data.batches import EvalBatches, TrainBatches, augment
from keras_vitcnn.data.datasets import ImageData, Split, load
from keras_vitcnn.data.images import LazyImages, decode
from keras_vitcnn.data.labels import Prediction, class_names, decode_predictions
from keras_vitcnn.data.masks import MaskBatches, mask_pairs
from keras_vitcnn.data.preprocess import Preprocess, preprocess_for
from keras_vitcnn.data.split import stratified, train_val_split

__all__ = [
    "Augmentation",
    "EvalBatches",
    "ImageData",
    "LazyImages",
    "MaskBatches",
    "Prediction",
    "Preprocess",
    "Split",
    "TrainBatches",
    "augment",
    "class_names",
    "decode",
    "decode_predictions",
    "load",
    "mask_pairs",
    "preprocess_for",
    "stratified",
    "train_val_split",
]

"""The name under which Keras finds this package's layers again when it loads a model."""

import keras

register = keras.saving.register_keras_serializable(package="keras_vitcnn")

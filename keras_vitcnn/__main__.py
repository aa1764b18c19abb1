"""`python -m keras_vitcnn` is the command `keras-vitcnn`."""

import sys

from keras_vitcnn.cli import main

if __name__ == "__main__":
    sys.exit(main())

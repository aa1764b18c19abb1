"""The image operations of the augmentation policies, on Pillow images, at a given strength."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Operation = Callable[..., Any]  # (image, value, **geometry) -> image


def apply(
    image: Any,
    name: str,
    value: float = 0.0,
    *,
    interpolation: str = "bicubic",
    fill: tuple[int, int, int] | None = None,
) -> Any:
    """One operation on an RGB Pillow image.

    Args:
        image: the picture.
        name: of the operation, a key of `OPERATIONS`.
        value: its argument: degrees (`rotate`), a slope (`shear_*`), a fraction of the side or
            pixels (`translate_*`), a factor of which 1 changes nothing (`brightness`, `contrast`,
            `color`, `sharpness`), bits that are kept (`posterize`), a threshold (`solarize`), grey
            levels (`solarize_add`), a radius in pixels (`blur`); the others take none.
        interpolation: of the geometric ones; `"nearest"`, `"bilinear"` or `"bicubic"`.
        fill: colour of what comes in from outside; black by default.
    """
    if name in GEOMETRIC:
        from PIL import Image

        resample = Image.Resampling[interpolation.upper()]
        return GEOMETRIC[name](image, value, {"resample": resample, "fillcolor": fill})
    return OPERATIONS[name](image, value)


def _affine(image: Any, matrix: tuple[float, ...], geometry: dict[str, Any]) -> Any:
    from PIL import Image

    return image.transform(image.size, Image.Transform.AFFINE, matrix, **geometry)


def _enhanced(kind: str) -> Operation:
    def enhance(image: Any, factor: float) -> Any:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, kind)(image).enhance(factor)

    return enhance


def _image_ops(function: str) -> Operation:
    def without_value(image: Any, value: float) -> Any:
        from PIL import ImageOps

        return getattr(ImageOps, function)(image)

    return without_value


def _posterize(image: Any, bits: float) -> Any:

    mask = ~(2 ** (8 - int(bits)) - 1)  # Pillow's own refuses 0 bits, which turn the image black
    return image if bits >= 8 else image.point([level & mask for level in RAMP])


def _solarize(image: Any, threshold: float) -> Any:
    return image.point([level if level < threshold else 255 - level for level in RAMP])


def _solarize_add(image: Any, amount: float) -> Any:
    return image.point([min(255, level + int(amount)) if level < 128 else level for level in RAMP])


def _grey(image: Any, value: float) -> Any:
    return image.convert("L").convert("RGB")


def _blur(image: Any, radius: float) -> Any:
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(radius))


RAMP = 3 * list(range(256))  # the levels of three channels, for a look-up table

GEOMETRIC: dict[str, Operation] = {
    "rotate": lambda image, degrees, geometry: image.rotate(degrees, **geometry),
    "shear_x": lambda image, slope, geometry: _affine(image, (1, slope, 0, 0, 1, 0), geometry),
    "shear_y": lambda image, slope, geometry: _affine(image, (1, 0, 0, slope, 1, 0), geometry),
    "translate_x": lambda image, pixels, geometry: _affine(
        image, (1, 0, pixels, 0, 1, 0), geometry
    ),
    "translate_y": lambda image, pixels, geometry: _affine(
        image, (1, 0, 0, 0, 1, pixels), geometry
    ),
    "translate_x_rel": lambda image, part, geometry: _affine(
        image, (1, 0, part * image.width, 0, 1, 0), geometry
    ),
    "translate_y_rel": lambda image, part, geometry: _affine(
        image, (1, 0, 0, 0, 1, part * image.height), geometry
    ),
}

OPERATIONS: dict[str, Operation] = {
    **GEOMETRIC,
    "identity": lambda image, value: image,
    "autocontrast": _image_ops("autocontrast"),
    "equalize": _image_ops("equalize"),
    "invert": _image_ops("invert"),
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _enhanced("Color"),
    "contrast": _enhanced("Contrast"),
    "brightness": _enhanced("Brightness"),
    "sharpness": _enhanced("Sharpness"),
    "grey": _grey,
    "blur": _blur,
}

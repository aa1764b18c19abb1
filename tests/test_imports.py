"""What `import keras_vitcnn` costs and needs, and which way the imports inside it point."""

import ast
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

from tests.helpers import ROOT, run_python

PACKAGE = ROOT / "keras_vitcnn"
FILES = sorted(PACKAGE.rglob("*.py"))
OPTIONAL = {
    "PIL",
    "click",
    "huggingface_hub",
    "matplotlib",
    "pymilvus",
    "safetensors",
    "sklearn",
    "tensorflow_datasets",
    "timm",
}
BACKENDS = {"tensorflow", "jax", "torch"}
OTHER_BACKENDS = BACKENDS - {keras.backend.backend()}
static = pytest.mark.backend_independent

# Each level may import those before it, and within a level nothing goes both ways.
LEVELS = [
    {"config", "extras", "files", "system"},
    {"ops"},
    {"layers"},
    {"blocks"},
    {"models"},
    {"weights", "inference", "data"},
    {"ablation", "analysis"},
    {"training"},
    {"speed"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def test_import_and_use_without_the_other_backends_and_extras():
    output = run_python(
        """
        import importlib.util
        from dataclasses import replace

        import keras
        import numpy as np

        ASKED_FOR.clear()
        import keras_vitcnn as kv
        asked_for = sorted(ASKED_FOR)

        vit = replace(kv.config_of("ViTTiny16"), width=12, depth=1, patch_size=4)
        model = kv.build(vit, input_shape=(16, 16, 3), classes=3)
        y = model.predict(np.zeros((2, 16, 16, 3), "uint8"), verbose=0)
        print(importlib.util.find_spec("PIL"), asked_for)
        print(y.shape, np.allclose(y.sum(axis=1), 1), kv.complexity(model).params)
        """,
        hidden=OPTIONAL | OTHER_BACKENDS | {"torchvision"},
    )
    width, tokens, classes = 12, 17, 3
    params = (48 + 1 + 1 + tokens) * width  # patches, class token, positions
    params += 12 * width**2 + 13 * width + 2 * width + (width + 1) * classes  # block, norm, head
    imports, run = output.splitlines()[-2:]
    assert imports == "None []", "the import looks for nothing that is hidden"
    assert run == f"(2, 3) True {params}"


def test_parts_that_a_model_does_not_need_come_on_demand():
    output = run_python(
        """
        import sys
        import keras_vitcnn as kv
        parts = [f"keras_vitcnn.{name}" for name in ("ablation", "data", "speed", "training")]
        before = [part in sys.modules for part in parts]
        print(before, kv.training.compare.__name__, kv.data.load.__name__, hasattr(kv, "nothing"))
        print(kv.ablation.road.__name__)
        """
    )
    assert output.splitlines()[-2:] == ["[False, False, False, False] compare load False", "road"]


def imported(file: Path, *, at_import: bool = False) -> Iterator[tuple[str, list[str]]]:
    """(module, names imported from it) of every import; only those run at import time if asked."""
    for node in module_level(ast.parse(file.read_text()).body) if at_import else everything(file):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield node.module or "", [alias.name for alias in node.names]


def everything(file: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(file.read_text()))


def module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for field in ("body", "orelse", "finalbody", "handlers"):
            yield from module_level(getattr(node, field, []))


def part_of(file: Path) -> str:
    """`layers` for keras_vitcnn/layers/remat.py; empty for keras_vitcnn/__init__.py."""
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if part.startswith("__") else part


def edges() -> Iterator[tuple[Path, str, str]]:
    """(file, its part, part that it imports) inside the package, without the public face."""
    for file in FILES:
        for module, names in imported(file):
            path = module.split(".")
            if path[0] != "keras_vitcnn" or not part_of(file):
                continue
            targets = path[1:2] or [name if name in LEVEL else "" for name in names] or [""]
            for target in targets:
                yield file, part_of(file), target


@static
def test_every_part_has_a_level():
    assert {part_of(file) for file in FILES} - {""} <= set(LEVEL)


@static
def test_imports_point_one_way():
    uphill = [
        f"{file.relative_to(ROOT)} imports {target or 'the public face'}"
        for file, part, target in edges()
        # The command line calls the public face, which lies above all the rest.
        if (part != "cli" if not target else LEVEL[target] > LEVEL[part])
    ]
    assert uphill == []


@static
def test_parts_of_one_level_do_not_import_each_other_both_ways():
    pairs = {(part, target) for _, part, target in edges() if part != target}
    assert {pair for pair in pairs if pair[::-1] in pairs} == set()


@static
def test_private_names_stay_at_home():
    strangers = [
        f"{file.relative_to(ROOT)}: {module} {names}"
        for file in FILES
        for module, names in imported(file)
        if module.startswith("keras_vitcnn")
        and (
            any(name.startswith("_") and not name.startswith("__") for name in names)
            or ("._" in module and module.split(".")[1] != part_of(file))
        )
    ]
    assert strangers == []


@static
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_file(file):
    source = file.read_text()
    assert "keras.src" not in source, "only Keras' public API"
    assert len(source.splitlines()) <= 400
    heavy = BACKENDS | (OPTIONAL - {"click"})
    at_import = {module.split(".")[0] for module, _ in imported(file, at_import=True)}
    assert not at_import & heavy, "import it where it is used"

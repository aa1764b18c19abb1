"""A hook of MkDocs: the notebooks of tutorials/, beside docs/, become a part of the site."""

from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "Results"  # the section of the navigation that they stand in front of


def notebooks() -> list[str]:
    return sorted(f"tutorials/{path.name}" for path in (ROOT / "tutorials").glob("*.ipynb"))


def on_config(config: Any) -> Any:
    found = notebooks()
    if found:
        sections = [next(iter(entry)) for entry in config.nav]
        config.nav.insert(sections.index(BEFORE), {"Tutorials": found})
    return config


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: Any) -> Files:
    for name in notebooks():
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files

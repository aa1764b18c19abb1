"""An extension of griffe: the comments behind a dataclass's fields are their descriptions.

    kernel: int = 3  # of the mixer

Comment lines right above a field belong to it as well.
"""

from typing import Any

import griffe


def comment(field: griffe.Attribute) -> str:
    lines = field.lines_collection[field.filepath]
    first, last = field.lineno - 1, field.endlineno - 1
    found = [lines[last].partition("  # ")[2]]
    while lines[first - 1].strip().startswith("# "):
        first -= 1
        found.insert(0, lines[first].strip().removeprefix("# "))
    return " ".join(filter(None, found))


class FieldComments(griffe.Extension):
    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        decorated = any(str(one.value).startswith("dataclass") for one in cls.decorators)
        if not decorated or cls.docstring is None or "Attributes:" in cls.docstring.value:
            return
        fields = [
            member
            for name, member in cls.members.items()
            if member.is_attribute and member.annotation is not None and name[0] != "_"
        ]
        described = [f"    {field.name}: {comment(field)}" for field in fields if comment(field)]
        if described:
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(described)

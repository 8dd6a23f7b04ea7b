"""The map of the rooms names every module, and the rooms stay small."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import allocator

PACKAGE = Path(allocator.__file__).parent
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py") and "corpus" not in path.parts
]


def test_the_map_names_every_module_in_the_row_of_its_room() -> None:
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    map_of_rooms = text.split("## The rooms")[1].split("## The words")[0]
    named: dict[str, set[str]] = {}
    for row in map_of_rooms.splitlines():
        if row.startswith("| `"):
            _, rooms, _, modules, _ = row.split("|")
            for room in re.findall(r"`(?:\w+/)*(\w+)/`", rooms):
                named[room] = set(re.findall(r"`(\w+)`", modules))
    missing = [str(p.relative_to(PACKAGE)) for p in MODULES if p.stem not in named[p.parent.name]]
    assert missing == []


def test_no_two_modules_share_a_name() -> None:
    names = Counter(path.stem for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_no_room_holds_more_than_a_dozen_modules() -> None:
    rooms = Counter(path.parent.relative_to(PACKAGE) for path in MODULES)
    assert {str(room): count for room, count in rooms.items() if count > 12} == {}

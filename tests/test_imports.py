"""Data and imports flow one way: reads the imports of every module and holds the direction.

names < wire < cache < serve     names < settings < watch < show     the command line on top
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest

import resolver

ROOT: Final = Path(resolver.__file__).parent
LONGEST_MODULE: Final = 400
LONGEST_FUNCTION: Final = 45

NAMES, WIRE, CACHE = "resolver.names", "resolver.wire", "resolver.cache"
SERVE, WATCH, SHOW = "resolver.serve", "resolver.watch", "resolver.show"
LOG, SETTING, SETTINGS = "resolver.log", "resolver.setting", "resolver.settings"
SPELLINGS = "resolver.spellings"

MAY_IMPORT: Final = {
    NAMES: {NAMES},
    WIRE: {WIRE, "resolver.names.keys"},
    CACHE: {WIRE},
    LOG: set[str](),
    SPELLINGS: set[str](),
    SETTING: {SPELLINGS},
    SETTINGS: {NAMES, SETTING, SPELLINGS},
    SERVE: {SERVE, NAMES, WIRE, CACHE, LOG},
    WATCH: {WATCH, NAMES, SETTINGS, SPELLINGS, LOG},
    SHOW: {SHOW, WATCH, NAMES, SETTINGS, LOG},
}
"""What of our own a part may import; what is not here (the command line) is on top and may import all."""

THIRD_PARTY: Final = {
    NAMES: set[str](),
    WIRE: set[str](),
    CACHE: set[str](),
    LOG: set[str](),
    SPELLINGS: set[str](),
    SETTING: set[str](),
    SETTINGS: set[str](),
    SERVE: set[str](),
    WATCH: {"docker", "requests"},
    SHOW: {"click", "dnslib", "rich"},
}
"""The packages a part may import beside the standard library. ``serve`` meets hostile packets with nothing
but it, and with nothing that could reach an engine."""

ONLY_HERE: Final = {"docker": {"resolver.watch.engine"}}
"""Packages that one module only may import."""

OURS_AND_STANDARD: Final = {"resolver", *sys.stdlib_module_names}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(module: str) -> set[str]:
    """Every module that this one names in an import, those for types only and those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            source = node.module or ""
            found.update(
                f"{source}.{a.name}" if f"{source}.{a.name}" in MODULES else source for a in node.names
            )
    return found


def is_part(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def part_of(module: str) -> str | None:
    return next((part for part in MAY_IMPORT if is_part(module, part)), None)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    part = part_of(module)
    if part is None:
        return
    for imported in imports(module):
        if imported.partition(".")[0] == "resolver":
            version_only = imported == "resolver"
            assert version_only or any(is_part(imported, p) for p in MAY_IMPORT[part]), imported
        else:
            package = imported.partition(".")[0]
            assert package in OURS_AND_STANDARD | THIRD_PARTY[part], imported


@pytest.mark.parametrize("module", MODULES)
def test_packages_that_one_module_only_imports(module: str) -> None:
    for imported in imports(module):
        only = ONLY_HERE.get(imported.partition(".")[0])
        assert only is None or module in only, imported


@pytest.mark.parametrize("module", MODULES)
def test_names_are_pure(module: str) -> None:
    """No sockets, no clock, no logging, no files."""
    if not is_part(module, NAMES):
        return
    impure = {
        "asyncio",
        "socket",
        "time",
        "datetime",
        "logging",
        "os",
        "pathlib",
        "subprocess",
        "threading",
        "random",
    }
    assert not {imported.partition(".")[0] for imported in imports(module)} & impure


def at_run_time(module: str) -> set[str]:
    """The modules of ours that must be loaded before this one; imports for types only are in an ``if``."""
    found: set[str] = set()
    for node in tree(module).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys() or {node.module or ""}
    return found & MODULES.keys()


def test_nothing_is_imported_in_a_circle() -> None:
    left = {module: at_run_time(module) for module in MODULES}
    while loadable := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in loadable:
            del left[module]
    assert not left


def test_every_part_is_there() -> None:
    assert all(any(is_part(module, part) for module in MODULES) for part in MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) < LONGEST_MODULE


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_long(module: str) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name

"""The house: imports run down only, below the adapters no host is known, adapters don't know each other, all is short."""

import ast
from pathlib import Path

import pytest

from taafs_plugins.adapters import hosts

ROOT = Path(__file__).resolve().parents[1] / "taafs_plugins"
# From the ground up; rooms of one floor don't know each other.
FLOORS = [
    ["errors", "moved"], ["data", "files", "native"], ["activations"], ["training"], ["two_stage"], ["symbolic", "adapters"],
    ["conversion", "coefficients", "plotting", "pick", "choose"], ["md", "testing"], ["experiments", "configs", "entry_points"], ["cli"],
    ["__main__"],
]  # fmt: skip
# These use the package as a user does, by its public names.
USERS = {"experiments", "cli"}
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
BELOW_ADAPTERS = {room for room, level in FLOOR.items() if level < FLOOR["adapters"]} - {"moved"}  # which holds names of 0.1
# Functions and files that are too long today: the list only shrinks.
LONG_FUNCTIONS = {"gpu_kernels.py:sweep", "files.py:hints"}
LONG_FILES: set[str] = set()


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def module_of(path: Path) -> str:
    return ".".join(("taafs_plugins", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path) -> list[str]:
    """Dotted names of this package that a file imports anywhere in it, ``from x import y`` as ``x.y``; not those for type checkers only."""
    tree = ast.parse(path.read_text())
    for node in [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]:
        node.body = [ast.Pass()]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "taafs_plugins"]


def code_words(path: Path) -> set[str]:
    """Names, attributes, imported modules and strings of a file, in lower case; without comments and docstrings."""
    tree = ast.parse(path.read_text())
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            words.add(node.value.lower())
        for field in ("id", "attr", "name", "module", "arg"):
            if isinstance(value := getattr(node, field, None), str):
                words.add(value.lower())
    return words


def test_every_room_has_a_floor():
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in files()}
    assert rooms == set(FLOOR) & rooms, f"no floor for {rooms - set(FLOOR)}"


def test_nothing_imports_upwards():
    wrong = []
    for path in files():
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for name in imports(path):
            other = name.split(".")[1] if "." in name else ""
            down = FLOOR[other] < FLOOR[room] or other == room if other in FLOOR else room in USERS
            if not down:
                wrong.append(f"{module_of(path)} -> {name}")
    assert not wrong


def test_rooms_inside_the_core_import_downwards_too():
    """Specs and stock activations know no family; families know nothing of each other."""
    above = ("taafs_plugins.activations.taafs", "taafs_plugins.activations.families.")
    for folder in (ROOT / "activations", ROOT / "activations" / "families"):
        for path in sorted(folder.glob("*.py")):
            assert path.name == "__init__.py" or not [name for name in imports(path) if name.startswith(above)], path


def test_no_host_is_named_below_the_adapters():
    shared = [path for path in (ROOT / "adapters").glob("*.py") if path.name != "__init__.py"]  # which holds the table of hosts
    below = [path for path in files() if path.relative_to(ROOT).parts[0].removesuffix(".py") in BELOW_ADAPTERS]
    words = [(path, word) for path in below + shared for word in code_words(path)]
    named = {f"{path.relative_to(ROOT)}: {word}" for path, word in words for host in hosts() if host in word}
    assert not named


@pytest.mark.parametrize("host", ["deepmd", "chgnet", "torchani", "schnetpack"])
def test_adapters_do_not_know_each_other(host):
    own = ("taafs_plugins.adapters." + host, *(f"taafs_plugins.adapters.{shared}" for shared in ("base", "sites", "patching")))
    for path in sorted((ROOT / "adapters" / host).glob("*.py")):
        names = [name for name in imports(path) if name.startswith("taafs_plugins.adapters")]
        assert not [name for name in names if not name.startswith(own)], path
        assert not [word for word in code_words(path) for other in set(hosts()) - {host} if word.split(".")[0] == other], path


def test_one_activation_class_is_named_in_its_own_room_only():
    public = {ROOT / "activations" / "__init__.py"}
    named = [path for path in files() if not path.is_relative_to(ROOT / "activations" / "taafs") and path not in public
             and ("taafs" in {n.id.lower() for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name) and n.id == "TAAFS"}
                  or any(name.endswith(".TAAFS") for name in imports(path)) or "TAAFS" in _strings(path))]  # fmt: skip
    assert not named


def _strings(path: Path) -> set[str]:
    return {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_files_and_functions_are_short():
    """Files below 350 lines; functions below 30 lines without their docstring."""
    long_files = {path.name for path in files() if len(path.read_text().splitlines()) >= 350}
    long_functions = set()
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1 if ast.get_docstring(node) is not None and len(node.body) > 1 else 0]
                if node.end_lineno - first.lineno + 1 >= 30:
                    long_functions.add(f"{path.name}:{node.name}")
    assert long_files == LONG_FILES and long_functions == LONG_FUNCTIONS

"""Numbers that several languages share: each other copy is read and compared with the one table in Python."""

import ast
import re
from pathlib import Path

import pytest

import taafs_plugins
from taafs_plugins.activations.taafs import codes
from taafs_plugins.md.units import EV, KCAL_PER_EV, factor

PACKAGE = Path(taafs_plugins.__file__).parent
CURVE = (PACKAGE / "native" / "csrc" / "curve.h").read_text()
TRITON = PACKAGE / "activations" / "taafs" / "gpu_kernels.py"
UNITS = (PACKAGE / "native" / "lammps_plugin" / "units.h").read_text()


def enum(name: str) -> dict[str, int]:
    """An enum class of ``curve.h`` by lower-case names."""
    inside = re.search(rf"enum class {name} {{([^}}]*)}}", CURVE).group(1)
    return {word.strip().lower(): number for number, word in enumerate(inside.split(","))}


def triton() -> dict[str, int]:
    """The whole numbers that the Triton module gives names, read without importing it: Triton may not be there."""
    found = {}
    for node in ast.parse(TRITON.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            found.update(zip((target.id for target in node.targets[0].elts), ast.literal_eval(node.value), strict=True))
    return {name.lower(): number for name, number in found.items()}


def test_cpp_names_shapes_squashes_and_bases_by_the_numbers_of_python():
    shapes = enum("Shape")
    assert shapes.pop("spline") == len(codes.SHAPES)  # a sweep's own choice, which Python never names
    assert shapes == codes.SHAPES
    assert enum("Squash") == codes.SQUASHES
    assert enum("Base") == {name.partition("(")[0]: number for name, number in codes.BASES.items()}
    assert f"kCelu = {re.search(r'celu.([0-9.]+)', ' '.join(codes.BASES)).group(1)}," in CURVE
    assert max(codes.BASES.values()) < codes.FROM_U


def test_triton_names_shapes_and_squashes_by_the_numbers_of_python():
    found = triton()
    for table in (codes.SHAPES, codes.SQUASHES):
        assert {name: found[name] for name in table if name != "rational"} == {name: table[name] for name in table if name != "rational"}
    branches = [int(number) for number in re.findall(r"SHAPE == (\d)", TRITON.read_text())]
    assert set(branches) <= set(codes.SHAPES.values())


def test_the_lammps_plugin_has_the_units_of_python():
    constants = dict(re.findall(r"constexpr double (\w+) = ([0-9.]+);", UNITS))
    assert {name: float(value) for name, value in constants.items()} == {"KCAL_PER_EV": KCAL_PER_EV, "EV_PER_HARTREE": EV["hartree"]}


def test_the_units_are_those_of_the_si_and_of_codata_2018():
    assert KCAL_PER_EV == pytest.approx(1.602176634e-19 * 6.02214076e23 / 4184, rel=1e-15)
    # E_h = alpha^2 m_e c^2, CODATA 2018
    assert EV["hartree"] == pytest.approx(7.2973525693e-3**2 * 9.1093837015e-31 * 299792458.0**2 / 1.602176634e-19, rel=3e-10)


def test_ase_and_lammps_get_the_same_electronvolts():
    from taafs_plugins.md.calculator import ENERGY

    assert ENERGY is EV
    for unit in EV:
        assert factor(unit, "metal") == ENERGY[unit]
        assert factor(unit, "real") == pytest.approx(ENERGY[unit] * KCAL_PER_EV, rel=1e-15)

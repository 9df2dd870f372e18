"""What pyproject.toml cannot say: a wheel with prebuilt kernels has a platform tag, and the programs of benchmarks/ ship in the package."""

import shutil
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PREBUILT = ROOT / "taafs_plugins" / "native" / "prebuilt"
# with the pages whose tables they write, and the trained model that deepmd_nve.py begins with
PROGRAMS = [
    *sorted((ROOT / "benchmarks").glob("*.py")),
    ROOT / "benchmarks" / "results" / "water_tanh.pt",
    *sorted((ROOT / "docs").glob("*.md")),
]
# the lines that taafs reproduce summary reads; elsewhere than the programs keep theirs, who would take those runs as done
RESULTS = ROOT / "benchmarks" / "results"
STORED = [path for path in sorted(RESULTS.glob("*.json*")) if path.stem in {
    "deepmd_cu", "deepmd_cu_timing", "torchani_kernelforge", "torchani_timing_32", "chgnet_iron", "schnetpack_gain", "families", "systems",
}]  # fmt: skip


class Package(Distribution):
    """Of one platform where kernels were prebuilt (scripts/prebuild)."""

    def has_ext_modules(self):
        return any(PREBUILT.glob("*/*.so"))


class Wheel(bdist_wheel):
    """The kernels link no Python: any version of it will do."""

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


class Build(build_py):
    """With benchmarks/ below taafs_plugins/programs, which the command line runs where there is no checkout."""

    def run(self):
        super().run()
        for source, target in zip([*PROGRAMS, *STORED], self._targets(), strict=True):
            if not self.editable_mode:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode=True):
        return super().get_outputs(include_bytecode) + [str(target) for target in self._targets() if not self.editable_mode]

    def _targets(self):
        folder = Path(self.build_lib) / "taafs_plugins" / "programs"
        return [*(folder / source.relative_to(ROOT) for source in PROGRAMS), *(folder / "stored" / source.name for source in STORED)]


setup(distclass=Package, cmdclass={"bdist_wheel": Wheel, "build_py": Build})

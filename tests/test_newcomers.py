"""Somebody else's family and host, each a file in a package of its own that is installed: nothing of this package is edited for them."""

import sys
import textwrap
from pathlib import Path

import pytest

from taafs_plugins.testing import fresh

ROOT = Path(__file__).resolve().parents[1]
HOSTS = ("deepmd", "chgnet", "torchani", "schnetpack")

FAMILY = '''
import torch

from taafs_plugins import register_family
from taafs_plugins.activations.formula import FormulaActivation, formula_family


class Gate(FormulaActivation):
    """A Swish with a slope, and a tanh beside it."""

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """z sigmoid(slope z) + shift tanh(z)."""
        slope, shift = p
        return z * torch.sigmoid(slope * z) + shift * torch.tanh(z)


register_family(formula_family(
    "gate", Gate, {"slope": 1.0, "shift": 0.0}, formula="z sigmoid(slope z) + shift tanh(z)", exact_start=lambda spec: False,
))
'''
FAMILY_TEST = """
from taafs_plugins.testing import FamilySuite


class TestGate(FamilySuite):
    specs = {"gate": 2, "gate,slope=1.5,rate=3": 2}
"""
EXPORT = """
import sys
sys.path.insert(0, {torchani!r})
import torch
from torchani_small import small_model
import taafs_plugins as taafs
model = small_model()
assert taafs.convert(model, "gate").added == 24
from taafs_plugins.testing import randomise
torch.save(randomise(model, 0.2), "model.pt")
from typer.testing import CliRunner
from taafs_plugins.cli import app
done = CliRunner().invoke(app, ["export", "model.pt", "-o", "exported.pt"])
assert done.exit_code == 0 and "gate,slope=1" in done.output.replace("\\n", ""), done.output
"""

HOST = '''
import torch
from torch import nn


class Potential(nn.Module):
    """The energy of a cluster: a small net over each pair's distance."""

    def __init__(self, activation: str = "silu") -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(1, 6), nn.Linear(6, 5), nn.Linear(5, 1)
        self.act1, self.act2 = make(activation), make(activation)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        i, j = torch.triu_indices(len(positions), len(positions), 1)
        distances = (positions[i] - positions[j]).norm(dim=1, keepdim=True)
        return self.last(self.act2(self.second(self.act1(self.first(distances))))).sum()


def make(name: str) -> nn.Module:
    return {"silu": nn.SiLU, "tanh": nn.Tanh}[name]()
'''
ADAPTER = '''
import toyhost
from taafs_plugins.activations import TrainableActivation, is_spec, make_activation
from taafs_plugins.activations.stock import module_name
from taafs_plugins.adapters import Adapter, HostError, Site
from taafs_plugins.adapters.patching import changed_code

CODE = {"toyhost.make": ("%s",)}


class ToyAdapter(Adapter):
    """Specs as the name of an activation; two sites."""

    host = "toyhost"
    tested = ("1.0",)

    def register(self) -> None:
        self.check_version()
        if self.patches:
            return
        if changed_code({"toyhost.make": (toyhost.make,)}, CODE):
            raise HostError("The installed toyhost is not the tested one: nothing was changed. Reinstall toyhost==1.0.")
        stock = toyhost.make
        self.patches.replace(toyhost, "make", lambda name: make_activation(name, "silu") if is_spec(name) else stock(name))

    def matches(self, model) -> bool:
        return isinstance(model, toyhost.Potential)

    def sites(self, model) -> list[Site]:
        return [self._site(model, "act1", model.first), self._site(model, "act2", model.second)]

    def _site(self, model, name, layer) -> Site:
        act = getattr(model, name)
        stock = act.base if isinstance(act, TrainableActivation) else act
        return Site(name=name, call=f"Potential.{name}", owner=model, attribute=name, replaces=stock, activation=module_name(stock),
                    width=layer.out_features, network="net", group="hidden", dtype=layer.weight.dtype, device=layer.weight.device)


ADAPTER = ToyAdapter()
'''
HOST_TEST = """
import torch
import toyhost

import taafs_plugins as taafs
from taafs_plugins.testing import HostSuite


class TestToy(HostSuite):
    host = "toyhost"
    site_count = 2
    counts = {"taafs:bspline": 16, "taafs:bspline,share=network": 8, "taafs:bspline,share=neuron": 88, "molu": 0}
    tolerance = 1e-8

    def model(self, seed=0):
        torch.manual_seed(seed)
        return toyhost.Potential().double()

    def positions(self):
        return torch.tensor([[0.0, 0, 0], [1.1, 0, 0], [0, 1.3, 0], [0.2, 0.1, 1.2]], dtype=torch.float64)

    def values(self, model, positions=None):
        x = (self.positions() if positions is None else positions).requires_grad_()
        energy = model(x)
        return {"energy": energy, "forces": -torch.autograd.grad(energy, x, create_graph=True)[0]}


def test_its_config_takes_a_spec():
    taafs.enable("toyhost")
    assert len(taafs.trainable_activations(toyhost.Potential("taafs:fourier"))) == 2
    taafs.disable("toyhost")
"""


def install(folder: Path, name: str, version: str, files: dict[str, str], entry_points: str) -> None:
    """What pip would leave on ``sys.path``: modules, and the metadata beside them."""
    for file, text in files.items():
        (folder / file).write_text(text)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))


def passed(folder: Path, count: int, *arguments: str, **env: str) -> None:
    """Runs pytest in a fresh process that has the folder on its path: at least ``count`` tests pass, nothing else happens."""
    code = f"import sys, pytest; sys.exit(pytest.main({['-q', '-p', 'no:cacheprovider', *arguments]!r}))"
    done = fresh(code, ROOT, [folder, ROOT], check=False, **env)
    summary = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 0 and "skipped" not in summary and int(summary.split()[0]) >= count, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.fixture(scope="module")
def family(tmp_path_factory) -> Path:
    """A folder with the package ``gate``."""
    folder = tmp_path_factory.mktemp("family")
    install(folder, "gate", "1.0", {"gate_family.py": FAMILY, "test_gate.py": FAMILY_TEST}, """
        [taafs_plugins.activations]
        gate = gate_family
        """)  # fmt: skip
    assert len(FAMILY.strip().splitlines()) <= 20
    return folder


def test_a_family_of_twenty_lines_passes_the_shipped_suite(family):
    passed(family, 40, str(family / "test_gate.py"), "--rootdir", str(family))


def test_a_family_of_another_package_serves_in_every_host(family):
    """``test_every_family_...`` of the host suites takes all families there are, in a process where this one is installed."""
    fresh("from taafs_plugins.activations import family_names; assert 'gate' in family_names()", family, [family, ROOT])
    tests = [str(ROOT / "integration_tests" / host / f"test_{host}_suite.py") for host in HOSTS]
    passed(family, len(HOSTS), *tests, "-k", "every_family")


def test_a_family_of_another_package_is_exported_by_the_command(family, tmp_path):
    fresh(EXPORT.format(torchani=str(ROOT / "integration_tests" / "torchani")), tmp_path, [family, ROOT])
    assert (tmp_path / "exported.pt").is_file()


def test_a_host_of_another_package_passes_the_shipped_suite(tmp_path):
    (tmp_path / "toyhost.py").write_text(HOST)
    code = "import toyhost; from taafs_plugins.adapters.patching import source_hash; print(source_hash(toyhost.make))"
    tested = fresh(code, tmp_path, [tmp_path, ROOT]).stdout.split()[-1]
    install(tmp_path, "toyhost", "1.0", {"toyhost_taafs.py": ADAPTER % tested, "test_toyhost.py": HOST_TEST}, """
        [taafs_plugins.adapters]
        toyhost = toyhost_taafs
        """)  # fmt: skip
    passed(tmp_path, 19, str(tmp_path / "test_toyhost.py"), "--rootdir", str(tmp_path))
    hosts = fresh("from taafs_plugins.adapters import hosts; print(*hosts())", tmp_path, [tmp_path, ROOT]).stdout
    assert set(hosts.split()) == {*HOSTS, "toyhost"} and "toyhost" not in sys.modules

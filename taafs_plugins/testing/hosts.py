"""What every host's adapter must do; a host's tests inherit it.

A subclass says how a small stock model is made and what it predicts, and what is counted. It must be importable by the name of its
module in a fresh process whose ``sys.path`` is that of the tests.
"""

from __future__ import annotations

import copy
import io
import pickle
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from taafs_plugins import coefficients, conversion
from taafs_plugins.activations import SpecError, TrainableActivation, family_names, make_activation
from taafs_plugins.activations.registry import find_family
from taafs_plugins.adapters import Adapter, HostError, adapter, patching
from taafs_plugins.testing.helpers import fresh, randomise
from taafs_plugins.testing.states import StateSuite
from taafs_plugins.training import check_gradients, count_parameters, trainable_activations

SPEC = "taafs:bspline"
FRESH = """
import torch
from {module} import {suite} as Suite
from taafs_plugins import load_coefficients
suite = Suite()
model = suite.model()
load_coefficients(model, "c.safetensors")
torch.save({{key: value.detach() for key, value in suite.values(model).items()}}, "values.pt")
"""


class HostSuite(StateSuite):
    """Tests of a host: sites, counts, start, restore, gradients, forces, files, refusals, families, patches.

    Attributes
    ----------
    host : name of its adapter
    counts : spec -> numbers that ``convert`` adds at the default sites
    site_count : how many sites are converted by default
    size : of the random coefficients
    pickles : whether a stock model can be pickled whole
    keeps_spec : whether a state dict holds the spec beside the numbers; False where the host's files keep it elsewhere
    step, tolerance : of the finite differences of the energy, and how well forces agree with them (in the model's units)
    """

    host: str
    counts: Mapping[str, int] = {}
    site_count: int
    size = 0.1
    pickles = True
    keeps_spec = True
    step = 1e-4
    tolerance = 1e-6

    def __init_subclass__(cls) -> None:
        if not cls.keeps_spec:
            cls.test_a_state_dict_of_another_spec_is_refused = None

    # What a host says -------------------------------------------------------------------------------------------------------

    def model(self, seed: int = 0) -> nn.Module:
        """A small stock model in float64, weights by seed."""
        raise NotImplementedError

    def positions(self) -> torch.Tensor:
        """Positions [n, 3] of a structure that reaches every site, float64."""
        raise NotImplementedError

    def values(self, model: nn.Module, positions: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """``energy`` (of one number) and ``forces`` [n, 3] there, default :meth:`positions`; both differentiable by the coefficients."""
        raise NotImplementedError

    # Helpers ----------------------------------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def as_registered(self):
        """Leaves the host registered or not, as it was."""
        self.model()  # some hosts register their plugins when they are first imported
        was = bool(self.adapter.patches)
        yield
        (self.adapter.register if was else self.adapter.unregister)()

    @property
    def adapter(self) -> Adapter:
        """Of the host."""
        return adapter(self.host)

    def converted(self, spec: str = SPEC, random: bool = True, seed: int = 0) -> nn.Module:
        """The model with random coefficients."""
        model = self.model(seed)
        conversion.convert(model, spec)
        return randomise(model, self.size) if random else model

    def same(self, first: nn.Module | dict, second: nn.Module | dict) -> bool:
        """Whether energies and forces are equal to the last bit."""
        a, b = (x if isinstance(x, dict) else self.values(x) for x in (first, second))
        return all(torch.equal(a[key], b[key]) for key in ("energy", "forces"))

    @staticmethod
    def look(model: nn.Module) -> tuple:
        """What must be as it was where nothing was changed: classes, keys and numbers, arguments that the host stores."""
        state = {key: value.clone() for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
        saved = copy.deepcopy(getattr(model, "model_args", None))
        return [(name, type(part)) for name, part in model.named_modules()], list(state), list(state.values()), saved

    def unchanged(self, model: nn.Module, before: tuple) -> bool:
        """Whether the model looks as before."""
        now = self.look(model)
        return now[0] == before[0] and now[1] == before[1] and all(map(torch.equal, now[2], before[2])) and now[3] == before[3]

    # Sites and counts ---------------------------------------------------------------------------------------------------------

    def test_the_table_lists_every_site_and_writes_nothing_on_the_model(self):
        model = self.model()
        before, attributes = self.look(model), {name: set(vars(part)) for name, part in model.named_modules()}
        table = conversion.sites(model)
        assert len({site.name for site in table}) == len(table) and sum(site.default for site in table) == self.site_count
        assert all(site.name in str(table) and not site.converted and site.dtype == torch.float64 for site in table)
        assert self.unchanged(model, before) and {name: set(vars(part)) for name, part in model.named_modules()} == attributes

    def test_conversion_adds_as_many_numbers_as_are_counted(self):
        for spec, added in self.counts.items():
            model = self.model()
            before = count_parameters(model)
            report = conversion.convert(model, spec)
            assert (report.before, report.added, report.after) == (before, added, before + added), spec
            assert count_parameters(model) == before + added and len(report.sites) == self.site_count
            assert set(report.sites) == {site.name for site in conversion.sites(model) if site.converted}

    # Start, restore, use --------------------------------------------------------------------------------------------------------

    def test_it_starts_at_stock_and_restore_gives_stock_back_to_the_last_bit(self):
        for spec in {"taafs:chebyshev1": 0, **self.counts}:
            model = self.model()
            before, stock = self.look(model), self.values(model)
            resolved = conversion.convert(model, spec).spec
            assert self.same(model, stock) or not find_family(resolved.family).exact_start(resolved), spec
            assert not self.same(randomise(model, self.size), stock), spec
            assert conversion.restore(model) == self.site_count and conversion.restore(model) == 0
            assert self.unchanged(model, before) and self.same(model, stock)

    @pytest.mark.parametrize("quantity", ["energy", "forces"])
    def test_every_coefficient_gets_a_gradient_from_one_quantity_alone(self, quantity):
        model = self.converted("taafs:chebyshev1")
        self.values(model)[quantity].square().sum().backward()
        assert check_gradients(model) == []
        assert all(p.grad.any() for act in trainable_activations(model).values() for p in act.coefficients().values())

    def test_forces_are_differences_of_the_energy(self):
        model, x = self.converted("taafs:chebyshev1"), self.positions()
        forces = self.values(model)["forces"].detach()
        assert forces.abs().max() > 100 * self.tolerance
        for atom in range(len(x)):
            for axis in range(3) if atom < 3 else (0,):
                sides = []
                for step in (self.step, -self.step):
                    moved = x.clone()
                    moved[atom, axis] += step
                    sides.append(float(self.values(model, moved)["energy"].detach()))
                assert abs(-(sides[0] - sides[1]) / (2 * self.step) - float(forces[atom, axis])) < self.tolerance, (atom, axis)

    # Files --------------------------------------------------------------------------------------------------------------------

    def test_coefficients_come_back_in_a_fresh_process(self, tmp_path):
        model = self.converted()
        coefficients.save_coefficients(model, tmp_path / "c.safetensors")
        fresh(FRESH.format(module=type(self).__module__, suite=type(self).__name__), tmp_path)
        assert self.same(torch.load(tmp_path / "values.pt"), model)
        other = self.model(seed=5)
        before = self.look(other)
        with pytest.raises(coefficients.CoefficientFileError, match="another base network"):
            coefficients.load_coefficients(other, tmp_path / "c.safetensors")
        (tmp_path / "bad").write_bytes(b"not a file")
        with pytest.raises(coefficients.CoefficientFileError, match="cannot be read"):
            coefficients.load_coefficients(other, tmp_path / "bad")
        assert self.unchanged(other, before)

    def test_state_dicts_and_copies_are_equal_to_the_last_bit(self):
        model, other = self.converted(), self.converted(random=False, seed=5)
        assert not self.same(model, other)
        other.load_state_dict(model.state_dict())
        assert self.same(model, other)
        assert self.same(model, copy.deepcopy(model))

    def test_a_state_dict_of_another_spec_is_refused(self):
        with pytest.raises(RuntimeError, match=r"were saved with 'taafs:chebyshev1,.*this model has 'taafs:legendre,"):
            self.converted("taafs:legendre").load_state_dict(self.converted("taafs:chebyshev1").state_dict())

    # Refusals -----------------------------------------------------------------------------------------------------------------

    def test_what_is_wrong_is_refused_and_leaves_the_model_as_it_was(self):
        model = self.model()
        before, name = self.look(model), next(site.name for site in conversion.sites(model) if site.default)
        for spec, sites, words in (
            ("tafs", None, "Did you mean 'taafs'"), ("taafs:bsplin", None, "Did you mean 'bspline'"), ("taafs,rate=0", None, "rate takes"),
            ("taafs", f"{name}x", "No site matches"), ("taafs:bspline,base=softsign", None, "base=softsign does not fit"),
        ):  # fmt: skip
            with pytest.raises(SpecError, match=words):
                conversion.convert(model, spec, sites)
            assert self.unchanged(model, before)
        conversion.convert(model, SPEC)
        converted = self.look(model)
        with pytest.raises(HostError, match="converted already"):
            conversion.convert(model, SPEC)
        assert self.unchanged(model, converted)

    @pytest.mark.parametrize("where", ["install", "finish"])
    def test_a_conversion_that_fails_half_way_leaves_the_model_as_it_was(self, where, monkeypatch):
        """The second call fails; with ``finish`` the whole model is installed by then."""
        model = self.model()
        before, stock, original, calls = self.look(model), self.values(model), getattr(self.adapter, where), []

        def failing(*arguments) -> Any:
            calls.append(1)
            if len(calls) == 2 or where == "finish":
                raise OSError("half-way")
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(self.adapter, where, failing)
            with pytest.raises(OSError, match="half-way"):
                conversion.convert(model, SPEC)
        assert self.unchanged(model, before) and self.same(model, stock)
        conversion.convert(model, SPEC)  # and nothing is left that would stand in the way

    # Families -----------------------------------------------------------------------------------------------------------------

    def test_every_family_can_be_converted_to_kept_and_taken_away(self, tmp_path):
        for spec in (*(find_family(name).example or name for name in family_names()), "molu:trained"):
            model = self.model()
            stock, before = self.values(model), self.look(model)
            conversion.convert(model, spec)
            acts = trainable_activations(model)
            assert len(acts) == self.site_count and {act.spec.family for act in acts.values()} == {spec.split(":")[0]}
            randomise(model, self.size)
            values = self.values(model)
            assert all(value.isfinite().all() for value in values.values()) and not self.same(values, stock), spec
            for name, act in acts.items():
                again = make_activation(str(act.trained_spec()), width=act.width, dtype=torch.float64)
                z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None].expand(9, act.width or 1)
                assert torch.allclose(again(z), act(z), rtol=1e-12, atol=1e-12), name
            coefficients.save_coefficients(model, tmp_path / "c.safetensors")
            other = self.model()
            coefficients.load_coefficients(other, tmp_path / "c.safetensors")
            assert self.same(other, values), spec
            assert conversion.restore(model) == self.site_count and self.unchanged(model, before), spec

    # Patches ------------------------------------------------------------------------------------------------------------------

    def attributes(self) -> dict[tuple[Any, str], Any]:
        """Everything in the host's loaded modules and classes, by owner and name."""
        modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == self.host and module is not None]
        owners = {id(m): m for m in modules}
        for module in modules:
            owners |= {id(c): c for c in vars(module).values() if isinstance(c, type) and c.__module__.split(".")[0] == self.host}
        return {(owner, name): value for owner in owners.values() for name, value in vars(owner).items()}

    def test_disabling_gives_back_stock_however_often_it_was_enabled(self):
        self.model()  # loads the host
        self.adapter.register()  # loads what registering loads
        self.adapter.unregister()
        stock = self.attributes()
        for _ in range(2):
            self.adapter.register()
        enabled = self.attributes()
        assert any(enabled[key] is not value for key, value in stock.items()) or not self.adapter.patches
        for _ in range(2):
            self.adapter.unregister()
        now = self.attributes()
        changed = [f"{owner.__name__}.{name}" for (owner, name), value in stock.items() if now.get((owner, name)) is not value]
        known = {id(owner) for owner, _ in stock}
        added = [f"{owner.__name__}.{name}" for owner, name in now.keys() - stock.keys() if id(owner) in known]
        ignored = ("__annotations_cache__", "__annotate_func__", "__warningregistry__", "_abc_impl")
        assert not [key for key in changed + added if not key.endswith(ignored)]

    def test_an_unknown_version_or_source_is_refused_and_nothing_is_changed(self, monkeypatch):
        self.adapter.unregister()
        model = self.model()
        before, stock = self.look(model), self.attributes()
        with monkeypatch.context() as patch:
            patch.setattr(type(self.adapter), "tested", ("9.9.9",))
            for call in (self.adapter.register, lambda: conversion.convert(model, SPEC)):
                with pytest.raises(HostError, match="9.9.9"):
                    call()
        if patching.changed_code in self.used():
            self.forget_checks()
            with monkeypatch.context() as patch:
                patch.setattr(patching, "source_hash", lambda *code: "0")
                with pytest.raises(HostError, match="[Rr]einstall|afresh"):
                    self.adapter.register()
            self.forget_checks()
        now = self.attributes()
        assert self.unchanged(model, before) and all(now[key] is value for key, value in stock.items()) and not self.adapter.patches
        self.adapter.register()

    def rooms(self) -> list[Any]:
        """The modules of the adapter."""
        root = type(self.adapter).__module__.rpartition(".")[0] or type(self.adapter).__module__
        return [module for name, module in list(sys.modules.items()) if name == root or name.startswith(f"{root}.")]

    def used(self) -> list[Any]:
        """What the adapter's modules hold."""
        return [value for module in self.rooms() for value in list(vars(module).values()) if callable(value)]

    def forget_checks(self) -> None:
        """Sources are checked once per process: check them again."""
        for function in self.used():
            getattr(function, "cache_clear", lambda: None)()

    def test_a_pickled_model_computes_the_same(self):
        model = self.converted()
        if not self.pickles:
            with pytest.raises((AttributeError, pickle.PicklingError)):
                torch.save(self.model(), io.BytesIO())
            return
        torch.save(model, file := io.BytesIO())
        again = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
        assert self.same(again, model) and all(isinstance(act, TrainableActivation) for act in trainable_activations(again).values())

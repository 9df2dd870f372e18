"""What every family of trainable activations must do; a family's tests inherit it.

>>> class TestGate(FamilySuite):
...     specs = {"gate": 1, "gate:wide": 2}
"""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation, make_activation, parse_spec, resolve_spec
from taafs_plugins.activations.registry import find_family
from taafs_plugins.activations.stock import fixed_activation
from taafs_plugins.testing.helpers import derivative_of, randomise, stay_shared

F64 = torch.float64
STEP = 1e-6  # on both sides of a kink


class FamilySuite:
    """Tests of a family's specs, numbers, derivatives, copies and exported forms; with random coefficients unless the start is meant.

    Attributes
    ----------
    specs : spec -> how many trained numbers one set of it has; every test runs for each. Without ``share=``: the suite tests that itself
    replaces : the stock activation in whose place they stand
    reach : derivatives are compared for z in [-reach, reach]
    transformations : whether batched gradients, ``vmap`` and forward mode are tested
    """

    specs: Mapping[str, int] = {}
    replaces = "silu"
    reach = 3.0
    transformations = True

    def __init_subclass__(cls) -> None:
        if not cls.transformations:
            for name in [n for n in dir(cls) if n.startswith("test_transformed_")]:
                setattr(cls, name, None)

    def pytest_generate_tests(self, metafunc) -> None:
        """Each spec by its text."""
        if "spec" in metafunc.fixturenames:
            metafunc.parametrize("spec", list(self.specs))

    def kinks(self, spec: str) -> Sequence[float]:
        """Where derivatives jump of a family that is not analytic; override it for one that declares ``C0``, ``C1`` ..."""
        return ()

    def make(self, spec: str, size: float = 0.3, **where) -> TrainableActivation:
        """The activation in float64 with random coefficients; one set for all where no width is given, whatever the family's default."""
        if "width" not in where:
            spec = str(parse_spec(spec).with_options(share="layer"))
        act = randomise(make_activation(spec, self.replaces, **{"dtype": F64, **where}), size)
        if act.wants_scale:
            act.set_scale(1.7)
        return act

    def points(self, count: int = 9) -> torch.Tensor:
        """Random points [count] within reach, the same each time: on no knot."""
        generator = torch.Generator("cpu").manual_seed(11)
        return self.reach * (2 * torch.rand(count, generator=generator, dtype=F64) - 1)

    # Specs ------------------------------------------------------------------------------------------------------------------

    def test_parsing_and_printing_are_inverse(self, spec):
        parsed, resolved = parse_spec(spec), resolve_spec(spec)
        assert parse_spec(str(parsed)) == parsed and str(parse_spec(str(parsed))) == str(parsed)
        assert resolve_spec(str(resolved)) == resolved == parse_spec(str(resolved))
        keys = find_family(resolved.family).keys(resolved.variant)
        assert {key for key, entry in keys.items() if entry.default is not None} <= set(resolved.options)
        assert {"base", "share", "rate", "theta"} <= set(keys)

    def test_mistakes_are_one_sentence_with_the_way_out(self, spec):
        head = spec.split(",")[0].split(":")[0]
        for wrong, words in ((f"{spec},shar=layer", "Did you mean 'share'"), (f"{head}:no_such_variant", "no_such_variant"),
                             (f"{find_family(head).example or head},rate=0", "rate takes")):  # fmt: skip
            with pytest.raises(SpecError, match=words) as error:
                resolve_spec(wrong)
            assert "\n" not in str(error.value)

    def test_it_has_as_many_numbers_as_it_says(self, spec):
        for share in ("layer", "neuron"):
            act = make_activation(parse_spec(spec).with_options(share=share), self.replaces, width=3)
            assert sum(p.numel() for p in act.coefficients().values()) == self.specs[spec] * (act.width or 1)

    def test_coefficients_are_named_and_never_those_of_the_stock_activation(self, spec):
        act = make_activation(spec, nn.PReLU(), width=3)
        named = dict(act.named_parameters())
        assert all(named[name] is p and "." not in name for name, p in act.coefficients().items())
        assert set(named) - set(act.coefficients()) <= {"base.weight"}
        assert set(act.coefficients()) | set(act.shared_buffers) <= set(act.numbers()) and not any("base" in key for key in act.numbers())

    # Start and values ---------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", [torch.float32, F64])
    def test_an_exact_start_is_the_stock_activation_to_the_last_bit(self, spec, dtype):
        act = make_activation(spec, self.replaces, dtype=dtype, width=3)
        if not find_family(act.spec.family).exact_start(act.spec):
            return  # nothing is promised
        stock, z = fixed_activation(self.replaces)[1], torch.linspace(-30, 30, 303, dtype=dtype).reshape(-1, 3)
        for order in (0, 1):
            assert torch.equal(derivative_of(act, z, order), derivative_of(stock, z, order))

    def test_derivatives_by_order_are_those_of_autograd(self, spec):
        act, z = self.make(spec), self.points(40)
        for order in range(4):
            expected = derivative_of(act, z, order)
            torch.testing.assert_close(act.derivative(z, order), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max() + 1))

    def test_first_second_and_third_order_agree_with_differences(self, spec):
        act, z = self.make(spec), self.points().requires_grad_()
        numbers = tuple(act.coefficients().values())

        def slope(x, *theta):
            return torch.autograd.grad(act(x).sum(), x, create_graph=True)[0]

        assert torch.autograd.gradcheck(lambda x, *theta: act(x), (z, *numbers))
        assert torch.autograd.gradcheck(slope, (z, *numbers))
        assert torch.autograd.gradgradcheck(slope, (z, *numbers))

    def test_derivatives_jump_only_where_the_family_says(self, spec):
        """Continuous up to the declared order at each kink; one more is the value of one side there."""
        act = self.make(spec)
        smooth = find_family(act.spec.family).smoothness(act.spec)
        kinks = torch.tensor(list(self.kinks(spec)), dtype=F64)
        assert (smooth == "analytic") == (kinks.numel() == 0), f"{spec} is {smooth}: kinks() must name its kinks"
        last = 3 if smooth == "analytic" else int(smooth[1:])
        for order in range(last + 1):
            left, right = (derivative_of(act, kinks + side, order) for side in (-STEP, STEP))
            slack = 10 * STEP * (1 + derivative_of(act, kinks + STEP, order + 1).abs() + derivative_of(act, kinks - STEP, order + 1).abs())
            assert ((left - right).abs() <= slack).all(), f"derivative {order}"
        here, left, right = (derivative_of(act, kinks + side, last + 1) for side in (0.0, -STEP, STEP))
        slack = 1e-4 * (1 + left.abs() + right.abs())
        assert (((here - left).abs() < slack) | ((here - right).abs() < slack)).all()

    def test_the_gradient_of_a_force_loss_is_right(self, spec):
        torch.manual_seed(0)
        act = self.make(spec, width=4)
        net = nn.Sequential(nn.Linear(3, 4, dtype=F64), act, nn.Linear(4, 1, dtype=F64))
        x = torch.randn(6, 3, dtype=F64, requires_grad=True)
        coefficients = list(act.coefficients().values())

        def loss() -> torch.Tensor:
            return torch.autograd.grad(net(x).sum(), x, create_graph=True)[0].square().sum()

        for p, gradient in zip(coefficients, torch.autograd.grad(loss(), coefficients) if coefficients else (), strict=True):
            assert gradient.any()
            for k in range(p.numel()):
                sides = []
                for step in (1e-5, -1e-5):
                    with torch.no_grad():
                        p.view(-1)[k] += step
                    sides.append(float(loss().detach()))
                    with torch.no_grad():
                        p.view(-1)[k] -= step
                numeric = (sides[0] - sides[1]) / 2e-5
                assert abs(float(gradient.view(-1)[k]) - numeric) < 1e-6 * max(1.0, abs(numeric))

    def test_every_dtype_comes_back_and_agrees(self, spec):
        act, z = self.make(spec), self.points(30)
        exact, single = act(z), copy.deepcopy(act).float()
        assert exact.dtype == F64 and single(z.float()).dtype == torch.float32
        slack = 1e-5 * float(1 + exact.detach().abs().max() + act.theta.detach().abs().sum())  # large terms of a sum may cancel
        torch.testing.assert_close(single(z.float()).double(), exact, rtol=0, atol=slack)
        half = z.float().bfloat16()
        assert torch.equal(single(half), single(half.float()).bfloat16())

    @pytest.mark.parametrize("dtype", [torch.float32, F64])
    def test_values_and_derivatives_are_finite_for_every_finite_input(self, spec, dtype):
        act = self.make(spec, dtype=dtype)
        sizes = torch.tensor([0.0, 1e-30, 1e-8, 1.0, 20.0, 50.0, 88.0, 100.0, 700.0, 1e4, 1e10, 1e20, 1e30], dtype=dtype)
        z = torch.cat([sizes, -sizes]).requires_grad_()
        for order in range(4):
            assert derivative_of(act, z, order).isfinite().all(), order
        y = act(z)
        if numbers := list(act.coefficients().values()):
            (slope,) = torch.autograd.grad(y.sum(), z, create_graph=True)
            assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), numbers, retain_graph=True))
            assert all(g is None or g.isfinite().all() for g in torch.autograd.grad(slope.sum(), numbers, allow_unused=True))

    # Sharing ------------------------------------------------------------------------------------------------------------------

    def test_neurons_have_rows_of_their_own(self, spec):
        head = str(parse_spec(spec).with_options(share="neuron"))
        with pytest.raises(SpecError, match="needs the width"):
            make_activation(head, self.replaces)
        act, z = self.make(head, width=3), self.points(5)
        y = act(z[:, None].expand(-1, 3))
        assert act.theta.shape[0] == 3
        if self.specs[spec]:
            assert not torch.equal(y[:, 0], y[:, 1])
        with pytest.raises(ValueError, match="width 3 but is called on width 2"):
            act(z[:, None].expand(-1, 2))

    def test_sharing_holds_the_same_parameters(self, spec):
        leader, other, z = self.make(spec, width=3), self.make(spec, width=3, size=0.1), self.points(6).reshape(2, 3)
        other.share_with(leader)
        assert all(other.coefficients()[name] is p for name, p in leader.coefficients().items())
        if not leader.wants_scale:
            assert torch.equal(other(z), leader(z))
        both = nn.ModuleList([leader, other])
        for kept in (copy.deepcopy(both), both.float()):
            assert all(kept[1].coefficients()[name] is p for name, p in kept[0].coefficients().items())
        stay_shared(both)
        stranger = make_activation(str(parse_spec(spec).with_options(share="neuron")), self.replaces, width=4)
        with pytest.raises(SpecError, match="cannot share"):
            stranger.share_with(leader)

    # Copies and files -----------------------------------------------------------------------------------------------------------

    def test_a_trained_spec_carries_the_activation_through_a_string(self, spec):
        act, z = self.make(spec, width=3), self.points(12).reshape(4, 3)
        text = str(act.trained_spec())
        again = make_activation(text, "tanh", width=3, dtype=F64)
        torch.testing.assert_close(again(z), act(z), rtol=1e-12, atol=1e-12)
        assert str(again.trained_spec()) == text == text.lower() and again.base_name == self.replaces

    def test_state_dicts_deep_copies_and_pickles_are_equal_to_the_last_bit(self, spec):
        act, z = self.make(spec, width=3), self.points(12).reshape(4, 3)
        loaded = make_activation(spec, self.replaces, width=3, dtype=F64)
        assert str(loaded.load_state_dict(act.state_dict())) == "<All keys matched successfully>"
        file = io.BytesIO()
        torch.save(act, file)
        file.seek(0)
        for other in (loaded, copy.deepcopy(act), torch.load(file, weights_only=False)):
            assert torch.equal(other(z), act(z)) and str(other.trained_spec()) == str(act.trained_spec())

    def test_numbers_of_another_spec_are_refused(self, spec):
        other = str(parse_spec(spec).with_options(rate=0.123))
        net, fresh = (nn.Sequential(make_activation(text, self.replaces, width=3)) for text in (spec, other))
        randomise(net)
        with pytest.raises(RuntimeError, match=r"at 0 were saved with .*this model has .*with the spec of the file"):
            fresh.load_state_dict(net.state_dict())
        assert not fresh[0].delta.any()

    def test_what_is_copied_into_the_tensors_is_what_is_computed(self, spec):
        """In-place copies, averaged models, averages of state dicts: every form computes with the tensors as they are now."""
        first, second, z = self.make(spec, width=3), self.make(spec, width=3), self.points(12).reshape(4, 3)
        randomise(second, seed=8)
        if second.wants_scale:
            second.set_scale(3.1)
        with torch.no_grad():
            first(z)  # what an engine remembers of the old numbers must not matter
        mean = {key: (value + second.state_dict()[key]) / 2 for key, value in first.state_dict().items()}
        averaged = torch.optim.swa_utils.AveragedModel(first, use_buffers=True)
        averaged.update_parameters(first)
        averaged.update_parameters(second)
        loaded = copy.deepcopy(first)
        loaded.load_state_dict(mean)
        with torch.no_grad():
            for target, source in zip((*first.parameters(), *first.buffers()), (*second.parameters(), *second.buffers()), strict=True):
                target.copy_(source)
        for act, expected in ((first, second), (averaged.module, loaded)):
            torch.testing.assert_close(act(z), expected(z), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(torch.jit.script(act)(z), act(z), rtol=1e-12, atol=1e-12)

    def test_the_default_device_and_dtype_are_torchs(self, spec):
        with torch.device("meta"):
            act = make_activation(spec, self.replaces, width=3)
        assert all(tensor.is_meta for tensor in act.numbers().values())
        before = torch.get_default_dtype()
        torch.set_default_dtype(F64)
        try:
            assert make_activation(spec, self.replaces, width=3).theta.dtype == F64
            with torch.device("meta"):
                there = make_activation(spec, self.replaces, width=3, device="cpu", dtype=F64)
        finally:
            torch.set_default_dtype(before)
        z = self.points(12).reshape(4, 3)
        assert torch.equal(there(z), make_activation(spec, self.replaces, width=3, dtype=F64)(z))

    # Exported forms -----------------------------------------------------------------------------------------------------------

    def test_every_exported_form_computes_the_same(self, spec, monkeypatch):
        act, z = self.make(spec).eval(), self.points(20)
        assert "plain" in act.export_forms()
        for form in act.export_forms():
            monkeypatch.setenv("TAAFS_EXPORT", form)
            scripted = torch.jit.script(act)
            for order in range(2 if form == "folded" else 3):
                expected = derivative_of(act, z, order)
                off = (derivative_of(scripted, z, order) - expected).abs().max()
                assert off <= 1e-10 * (1 + expected.abs().max()), f"{form}, derivative {order}"
            assert torch.equal(act(z), act.plain(z)) or (act(z) - act.plain(z)).abs().max() < 1e-12 * (1 + act(z).abs().max())

    def test_scripting_leaves_the_module_as_it_was(self, spec):
        act = self.make(spec).eval()
        before = set(vars(act)), [name for name, _ in act.named_modules()], list(act.state_dict())
        torch.jit.script(act)
        anyones = {"__overloads__"}  # torch leaves it on every module, nn.Tanh too
        assert (set(vars(act)) - anyones, [name for name, _ in act.named_modules()], list(act.state_dict())) == before

    # Transformations of autograd ------------------------------------------------------------------------------------------------

    def test_transformed_by_batched_gradients_they_are_those_of_the_loop(self, spec):
        act, z = self.make(spec), self.points(5).requires_grad_()
        numbers = tuple(act.coefficients().values())
        eye = torch.eye(5, dtype=F64)
        y = act(z)
        batched = torch.autograd.grad(y, (z, *numbers), eye, is_grads_batched=True, retain_graph=True)
        loop = [torch.autograd.grad(y, (z, *numbers), row, retain_graph=True) for row in eye]
        for k, value in enumerate(batched):
            torch.testing.assert_close(value, torch.stack([row[k] for row in loop]), rtol=1e-10, atol=1e-12)
        mapped = torch.vmap(lambda row: torch.autograd.grad(y, z, row, retain_graph=True)[0])(eye)
        torch.testing.assert_close(mapped, batched[0], rtol=1e-10, atol=1e-12)

    def test_transformed_by_vectorised_hessians_they_are_those_of_the_loop(self, spec):
        act, z = self.make(spec), self.points(4)

        def energy(x):
            return act(x).square().sum()

        for transform in (torch.autograd.functional.hessian, torch.autograd.functional.jacobian):
            of = energy if transform is torch.autograd.functional.hessian else act
            torch.testing.assert_close(transform(of, z, vectorize=True), transform(of, z), rtol=1e-9, atol=1e-11)

    def test_transformed_by_forward_mode_the_tangent_is_that_of_reverse_mode(self, spec):
        act, z = self.make(spec), self.points(7)
        expected = derivative_of(act, z, 1)
        frozen = copy.deepcopy(act).requires_grad_(False)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(z, torch.ones_like(z))
            with torch.no_grad():
                tangents = [torch.autograd.forward_ad.unpack_dual(f(dual)).tangent for f in (act, frozen)]
            tangents.append(torch.autograd.forward_ad.unpack_dual(frozen(dual)).tangent)
        for tangent in tangents:
            torch.testing.assert_close(tangent, expected, rtol=1e-9, atol=1e-11)

"""What a host's models must stand beside files: averages, numbers written in place, torch's other defaults, batched gradients.

A part of :class:`~taafs_plugins.testing.HostSuite`, whose model, values and helpers it uses.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taafs_plugins import conversion
from taafs_plugins.testing.helpers import randomise
from taafs_plugins.training import trainable_activations

SPEC, SCALED = "taafs:bspline", "taafs:bspline,scale=auto"


class StateSuite:
    """Tests of state that lies beside the parameters, and of transformations of autograd."""

    def scaled(self, scale: float, seed: int = 7) -> nn.Module:
        """A converted model with measured scales and random coefficients."""
        model = randomise(self.converted(SCALED, random=False), self.size, seed)
        for act in trainable_activations(model).values():
            act.set_scale(scale)
        return model

    def test_averages_of_models_compute_with_the_averaged_numbers(self):
        first, second = self.converted(SCALED), self.converted(SCALED)
        randomise(second, self.size, seed=8)
        for model, scale in ((first, 1.3), (second, 2.3)):
            for act in trainable_activations(model).values():
                act.set_scale(scale)
        self.values(first)
        averaged = torch.optim.swa_utils.AveragedModel(first, use_buffers=True)
        for model in (first, second):
            averaged.update_parameters(model)
        target, theirs = self.converted(SCALED, random=False), second.state_dict()
        target.load_state_dict({key: (v + theirs[key]) / 2 if v.is_floating_point() else v for key, v in first.state_dict().items()})
        assert all(float(act.scale) == pytest.approx(1.8) for act in trainable_activations(target).values())
        a, b = self.values(averaged.module), self.values(target)
        assert all(torch.allclose(a[key], b[key], rtol=1e-9, atol=1e-9) for key in a)

    def test_coefficients_lie_beside_the_weights_whatever_torchs_default_device_is(self):
        model, expected = self.model(), self.converted(random=False)
        with torch.device("meta"):
            conversion.convert(model, SPEC)
        assert not any(tensor.is_meta for act in trainable_activations(model).values() for tensor in act.numbers().values())
        assert self.same(model, expected)

    def test_what_is_copied_in_place_is_computed_with(self):
        """As EMA, DDP's broadcast and averages by hand do: nothing that the first call kept may be stale."""
        first, second = self.scaled(1.3), self.scaled(2.3, seed=8)
        assert not self.same(first, second)
        with torch.no_grad():
            for mine, theirs in zip((*first.parameters(), *first.buffers()), (*second.parameters(), *second.buffers()), strict=True):
                mine.copy_(theirs)
        assert self.same(first, second)
        again = self.scaled(1.3)
        self.values(again)
        for mine, theirs in zip(trainable_activations(again).values(), trainable_activations(second).values(), strict=True):
            mine.scale.data.mul_(0).add_(theirs.scale)
            mine.delta.data = theirs.delta.data.clone()
        assert self.same(again, second)

    def test_activations_that_were_on_no_device_are_filled_by_a_state_dict(self):
        model, expected = self.scaled(1.3), self.scaled(2.3, seed=8)
        for act in trainable_activations(model).values():
            act.to("meta").to_empty(device="cpu")
        model.load_state_dict(expected.state_dict())
        assert self.same(model, expected)

    def test_torchs_default_dtype_and_device_change_nothing(self):
        expected, model, dtype = self.values(self.scaled(1.3)), self.model(), torch.get_default_dtype()
        torch.set_default_dtype(torch.float32 if dtype == torch.float64 else torch.float64)
        torch.set_default_device("meta")
        try:
            conversion.convert(model, SCALED)
        finally:
            torch.set_default_dtype(dtype)
            torch.set_default_device(None)
        randomise(model, self.size)
        for act in trainable_activations(model).values():
            act.set_scale(1.3)
        assert self.same(model, expected)

    def _batched(self, model: nn.Module, numbers: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Gradients of four forces with respect to numbers: one by one, and all at once."""
        outputs = self.values(model)["forces"].reshape(-1)[:4]
        rows = torch.eye(len(outputs), dtype=outputs.dtype)
        options = {"retain_graph": True, "allow_unused": True}  # forces do not depend on the last bias
        loop = [torch.autograd.grad(outputs, numbers, row, **options) for row in rows]
        batched = torch.autograd.grad(outputs, numbers, rows, is_grads_batched=True, **options)
        used = [k for k in range(len(numbers)) if loop[0][k] is not None]
        return [torch.stack([each[k] for each in loop]) for k in used], [batched[k] for k in used]

    def test_batched_gradients_are_those_of_the_loop(self):
        model = self.converted("taafs:chebyshev1")
        for one_by_one, at_once in zip(*self._batched(model, list(model.parameters())), strict=True):
            torch.testing.assert_close(at_once, one_by_one, rtol=1e-9, atol=1e-10)

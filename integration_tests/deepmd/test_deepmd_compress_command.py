"""``dp --pt freeze``, ``dp --pt compress`` and LAMMPS with trained activations, as a user runs them, on trained water."""

import json
from pathlib import Path

import pytest
import torch
from compress_models import START, compare, live_water, make, within, write_checkpoint
from conftest_deepmd import dp, largest_difference, model_of, python_values, water_input
from lammps_runs import single_point

import taafs_plugins as taafs

SPEC = "taafs:chebyshev1,share=neuron"


@pytest.fixture(scope="module")
def files(small_water, tmp_path_factory) -> Path:
    """random.pt, frozen.pth and compressed.pth, without a stored smallest distance; the command's output in ``printed``."""
    folder = tmp_path_factory.mktemp("compress")
    model = live_water(SPEC, 0.02)
    model.min_nbor_dist.fill_(-1.0)
    write_checkpoint(model, folder / "random.pt")
    (folder / "input.json").write_text(json.dumps(water_input(SPEC, small_water)))
    dp("freeze", "-c", "random.pt", "-o", "frozen.pth", cwd=folder)
    result = dp("compress", "-i", "frozen.pth", "-o", "compressed.pth", "-s", "0.004", "-e", "4", "-t", "input.json", cwd=folder)
    (folder / "printed").write_text(result.stdout + result.stderr)
    return folder


@pytest.fixture(scope="module")
def values(files, small_water) -> dict[str, dict]:
    """Numbers of both files by ``DeepPot``."""
    return {name: python_values(files / name, small_water[0]) for name in ("frozen.pth", "compressed.pth")}


def command(file, output, **options) -> None:
    """What ``dp --pt compress`` runs, in this process."""
    import deepmd.pt  # noqa: F401
    from deepmd.pt.entrypoints.compress import enable_compression

    enable_compression(str(file), str(output), **options)


def frozen(model, path: Path) -> Path:
    """What ``dp --pt freeze`` writes, in this process."""
    torch.jit.save(torch.jit.script(model.eval()), path)
    return path


def test_the_compressed_file_predicts_what_the_frozen_one_does(files, values, small_water):
    found = compare(values["frozen.pth"], values["compressed.pth"])
    assert within(found), found
    stock = frozen(live_water("tanh"), files / "stock.pth")
    command(stock, files / "stock_compressed.pth", stride=0.004)
    other = python_values(files / "stock_compressed.pth", small_water[0])
    different = compare(values["compressed.pth"], other)
    assert all(different[key] > 1e-3 for key in ("force", "virial")) and different["energy"] > 1e-5, different
    assert "the slopes of the tables differ" in (files / "printed").read_text()


@pytest.mark.parametrize("ranks", [1, 2])
def test_lammps_repeats_python(ranks, files, values, small_water, tmp_path):
    ours = single_point([files / "compressed.pth"], small_water[0], tmp_path, ranks)
    assert largest_difference(ours, values["compressed.pth"]) < 1e-6
    assert within(compare(ours, values["frozen.pth"]), 10.0)


def test_the_coefficients_come_along_and_the_fitting_net_is_folded(files):
    before, after = (torch.jit.load(files / name) for name in ("frozen.pth", "compressed.pth"))
    old, new = before.state_dict(), after.state_dict()
    keys = [key for key in old if key.endswith((".delta", ".theta_start"))]
    assert len(keys) >= 24 and all(torch.equal(old[key], new[key]) for key in keys)
    assert json.loads(after.model_def_script) == json.loads(before.model_def_script)
    acts = {name: part for name, part in after.named_modules() if name.endswith("activate") and hasattr(part, "delta")}
    assert acts and all(act.scripts_folded for name, act in acts.items())


def test_the_operator_form_is_read_and_written(values, small_water, tmp_path, monkeypatch):
    """A file frozen with TAAFS_EXPORT=operator, in a fresh process that has not loaded the operator."""
    monkeypatch.setenv("TAAFS_EXPORT", "operator")
    model = live_water(SPEC, 0.02)
    frozen(model, tmp_path / "frozen.pth")
    dp("compress", "-i", "frozen.pth", "-o", "compressed.pth", "-s", "0.004", cwd=tmp_path)
    loaded = torch.jit.load(tmp_path / "compressed.pth")
    assert all(part.scripts_operator for name, part in loaded.named_modules() if name.endswith("activate") and hasattr(part, "delta"))
    ours = python_values(tmp_path / "compressed.pth", small_water[0])
    assert within(compare(ours, values["frozen.pth"]))


def test_the_file_is_as_large_as_stocks(small_water, tmp_path):
    """Default sizes, one-sided."""
    sizes = {}
    for spec in ("tanh", "taafs:bspline", "taafs:fourier,share=neuron"):
        config = water_input(spec, small_water)
        config["model"]["descriptor"]["neuron"] = [25, 50, 100]
        config["model"]["fitting_net"]["neuron"] = [240, 240, 240]
        model = model_of(config)
        model.min_nbor_dist.fill_(0.85)
        for key, buffer in model.named_buffers():
            if key.endswith("stddev"):
                buffer *= 0.1
        command(frozen(model, tmp_path / "frozen.pth"), tmp_path / "compressed.pth")
        sizes[spec] = (tmp_path / "compressed.pth").stat().st_size
    assert all(size < 1.05 * sizes["tanh"] for size in sizes.values()), sizes


def test_what_cannot_be_compressed_is_one_sentence_and_no_file(tmp_path):
    file = frozen(make("dpa1", "taafs:bspline", attn_layer=1, attn=8), tmp_path / "attention.pth")
    with pytest.raises(SystemExit, match="attention") as caught:
        command(file, tmp_path / "small.pth")
    assert caught.value.code.startswith("taafs-plugins: dp compress") and not (tmp_path / "small.pth").exists()


def test_mistakes_with_trained_models_are_one_sentence_and_stocks_are_untouched(files, tmp_path):
    for file, words in (("frozen.pth", "with -t"), ("compressed.pth", "compressed already")):
        with pytest.raises(SystemExit, match=words):
            command(files / file, tmp_path / "small.pth")
    model = live_water("tanh")
    model.min_nbor_dist.fill_(-1.0)
    with pytest.raises(ValueError, match="minimum neighbor distance") as caught:
        command(frozen(model, tmp_path / "stock.pth"), tmp_path / "small.pth")
    assert not isinstance(caught.value, SystemExit) and not (tmp_path / "small.pth").exists()


def test_a_trained_fitting_net_over_a_stock_descriptor_is_folded_too(small_water, tmp_path):
    config = torch.load(START, weights_only=True)["model"]["_extra_state"]["model_params"]
    config["fitting_net"]["activation_function"] = "taafs:bspline"
    model = model_of({"model": config})
    model.min_nbor_dist.fill_(0.85)
    for act in taafs.activations(model).values():
        act.delta.data.normal_(std=0.01, generator=torch.Generator().manual_seed(1))
    command(frozen(model, tmp_path / "frozen.pth"), tmp_path / "compressed.pth")
    before, after = (python_values(tmp_path / name, small_water[0]) for name in ("frozen.pth", "compressed.pth"))
    assert within(compare(before, after))
    acts = [part for name, part in torch.jit.load(tmp_path / "compressed.pth").named_modules() if name.endswith("activate")]
    assert sum(getattr(act, "scripts_folded", False) for act in acts) == 8  # DeePMD-kit lists every network twice

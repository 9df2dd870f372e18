"""What people write by mistake, each answered by one sentence with the way out; the tables hold kinds of mistakes, not all of a kind."""

import pytest
import torch
from torchani.arch import simple_ani
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.activations import SpecError, suggestion
from taafs_plugins.adapters.deepmd import input as deepmd_input
from taafs_plugins.cli import app
from taafs_plugins.errors import TaafsError

SPECS = {
    # forgotten or confused words
    "chebyshev1": "Did you mean 'taafs:chebyshev1'",
    "fourier,n=4": "Did you mean 'taafs:fourier,n=4'",
    "tafs:fourier": "Did you mean 'taafs'",
    "taafs:chebyshev": "Did you mean 'chebyshev1'",
    "taafs:chebychev2": "Did you mean 'chebyshev2'",
    "taafs:b-spline": "Did you mean 'bspline'",
    "taafs:cubic": "Known: bspline",
    "tanh": "is a stock activation and no spec; write 'taafs:chebyshev1,base=tanh'",
    "leaf:relu6": "Did you mean 'relu'",
    "swish:1": "leave ':1' out",
    "formula": "write for example 'formula:tanh",
    "none": "nothing at all for a stock activation",
    "None": "nothing at all for a stock activation",
    "null": "nothing at all",
    "": "is empty",
    # punctuation
    "taafs:bspline;grid=5": "Did you mean 'taafs:bspline,grid=5'",
    "taafs:bspline grid=5": "Did you mean 'taafs:bspline,grid=5'",
    "taafs:bspline(grid=5)": "Did you mean 'taafs:bspline,grid=5'",
    "taafs:bspline,grid:5": "Did you mean 'taafs:bspline,grid=5'",
    "taafs bspline": "Did you mean 'taafs:bspline'",
    "taafs-bspline": "Did you mean 'taafs:bspline'",
    "taafs,bspline": "Did you mean 'taafs:bspline'",
    "taafs=bspline": "Did you mean 'taafs:bspline'",
    "taafs::bspline": "Did you mean 'taafs:bspline'",
    "'taafs:bspline'": "Did you mean 'taafs:bspline'",
    '"taafs"': "Did you mean 'taafs'",
    "taafs:bspline,": "Did you mean 'taafs:bspline'",
    "chebyshev1; degree = 5": "Did you mean 'taafs:chebyshev1,degree=5'",
    "taafs:": "nothing behind the colon",
    "molu:": "leave the colon out",
    # keys and values
    "taafs:chebyshev1,grid=5": "Did you mean 'degree'",
    "taafs:bspline,degree=5": "Did you mean 'order'",
    "taafs:grbf,n=8": "Did you mean 'grid'",
    "taafs:fourier,degree=4": "Did you mean 'n'",
    "taafs:rational,degree=3": "Did you mean 'num'",
    "taafs:bspline,knots=5": "Did you mean 'grid'",
    "taafs,lr=3": "Did you mean 'rate'",
    "taafs,gird=5": "Did you mean 'grid'",
    "taafs,trainable=false": "It takes: grid",
    "taafs:bspline,grid=5.0": "a whole number from 1 to 64",
    "taafs,rate=fast": "a number above 0",
    "taafs,share=neurons": "one of global",
    "taafs,residual=yes": "one of plain",
    "taafs,squash=sigmoid": "one of tanh",
    "taafs,scale=batch": "'auto' or a number",
    "taafs,theta=1;2": "separated by '/'",
    "taafs,grid=5,grid=6": "sets 'grid' twice",
    "taafs,grid": "not of the form key=value",
}


def sentence(error):
    """What a user reads: one line that ends as sentences end."""
    text = str(error)
    assert text and "\n" not in text and text.rstrip("'").endswith((".", "?", ")", "...")), text
    return text


@pytest.mark.parametrize("text", SPECS)
def test_a_mistake_in_a_spec(text):
    with pytest.raises(SpecError, match=SPECS[text]) as error:
        taafs.parse_spec(text)
    sentence(error.value)


def test_nothing_is_suggested_that_is_no_spec_and_nothing_for_a_good_one():
    for text in SPECS:
        if hint := suggestion(text):
            taafs.parse_spec(hint)
    assert suggestion("formula:tahn(z)") == "" == suggestion("hello world")


def stock():
    return simple_ani(("H", "C"), "wb97x-631gd", repulsion=False)


CALLS = {
    "a spec that is None": (lambda path: taafs.make_activation(None), "not None"),
    "a module for a spec": (lambda path: taafs.make_activation(torch.nn.Tanh()), "A spec is a string"),
    "a dtype as a word": (lambda path: taafs.make_activation("taafs", dtype="float64"), "dtype=torch.float64"),
    "a dtype of whole numbers": (lambda path: taafs.make_activation("taafs", dtype=torch.int32), "floating-point"),
    "an unknown device": (lambda path: taafs.make_activation("taafs", device="tpu"), "device='cpu'"),
    "no width": (lambda path: taafs.make_activation("taafs,share=neuron"), "pass width="),
    "a misspelt stock name": (lambda path: taafs.make_activation("taafs", replaces="tahn"), "Did you mean 'tanh'"),
    "a host's own name": (lambda path: taafs.enable("CHGNet"), "Did you mean 'chgnet'"),
    "a package's name": (lambda path: taafs.enable("deepmd-kit"), "Did you mean 'deepmd'"),
    "a host that is None": (lambda path: taafs.enable(None), "'chgnet'"),
    "an unknown host": (lambda path: taafs.enable("mace"), "There are: deepmd"),
    "a file's name for a model": (lambda path: taafs.convert("model.pth.tar", "taafs"), "load the file with its host first"),
    "a path for a model": (lambda path: taafs.sites(path), "load the file with its host first"),
    "a state dict for a model": (lambda path: taafs.convert(stock().state_dict(), "taafs"), "load the dict into it"),
    "a network of one's own": (lambda path: taafs.convert(torch.nn.Linear(2, 2), "taafs"), "use make_activation"),
    "a basis for a spec": (lambda path: taafs.convert(stock(), "chebyshev1"), "Did you mean 'taafs:chebyshev1'"),
    "no sites": (lambda path: taafs.convert(stock(), "taafs", sites=[]), "leave it out"),
    "coefficients of a stock model": (lambda path: taafs.save_coefficients(stock(), path), "convert"),
    "coefficients that are not there": (lambda path: taafs.load_coefficients(stock(), path), "No such file"),
    "half precision, exported": (lambda path: taafs.export(stock().half(), path), r"call \.float\(\)"),
    "an unknown unit": (lambda path: taafs.export(stock(), path, energy_unit="kJ/mol"), "eV, kcal/mol"),
    "an unknown dtype": (lambda path: taafs.export(stock(), path, dtype="float16"), "float32 or float64"),
    "no such file": (lambda path: taafs.export("nothing.pt", path), "There is no file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CALLS)
def test_a_mistake_in_a_call(mistake, tmp_path):
    call, words = CALLS[mistake]
    with pytest.raises(TaafsError, match=words) as error:
        call(tmp_path / "file.pt")
    sentence(error.value)
    assert not (tmp_path / "file.pt").exists()


def water(**places):
    """An input with something in ``model`` (keys as they are), ``descriptor`` and ``fitting_net``."""
    model = {"descriptor": {"type": "se_e2_a", **places.pop("descriptor", {})}, "fitting_net": places.pop("fitting_net", {})}
    return {"model": {**model, **places}}


INPUTS = {
    "forgotten taafs:": (water(descriptor={"activation_function": "chebyshev1"}), "Did you mean 'taafs:chebyshev1'"),
    "a blank": (water(fitting_net={"activation_function": "taafs chebyshev1"}), "Did you mean 'taafs:chebyshev1'"),
    "a misspelt basis": (water(fitting_net={"activation_function": "taafs:chebyshev"}), "Did you mean 'chebyshev1'"),
    "an empty name": (water(descriptor={"activation_function": " "}), "is empty"),
    "another key": (water(descriptor={"activation": "taafs:chebyshev1"}), "activation holds a spec, but the key is 'activation_function'"),
    "the model's level": (water(activation_function="taafs:chebyshev1"), "model.activation_function is read by nothing"),
    "the model's level, another key": (water(activation="taafs:chebyshev1"), "model.activation holds a spec"),
    "outside of the model": ({**water(), "activation_function": "taafs:chebyshev1", "training": {"act": "taafs:bspline"}}, "the key is"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", INPUTS)
def test_a_mistake_in_an_input_file(mistake):
    config, words = INPUTS[mistake]
    with pytest.raises(deepmd_input.InputError, match=words) as error:
        deepmd_input.check(config, "pt")
    sentence(error.value)


def test_an_input_without_mistakes_is_taken():
    deepmd_input.check(water(descriptor={"activation_function": "taafs:chebyshev1"}, fitting_net={"activation_function": "tanh"}), "pt")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model file of TorchANI, one that was exported, a state dict and a text."""
    folder = tmp_path_factory.mktemp("models")
    model = stock()
    torch.save(model, folder / "model.pt")
    torch.save(model.state_dict(), folder / "state.pt")
    taafs.export(model, folder / "exported.pt")
    (folder / "text.pt").write_text("no model")
    return folder


COMMANDS = {
    "an exported file, exported": ("export exported.pt -o new.pt", "is an exported file"),
    "an exported file, converted": ("convert exported.pt -o new.pt --spec taafs", "is an exported file"),
    "a state dict": ("sites state.pt", "A state dict alone lacks the architecture"),
    "a text": ("export text.pt -o new.pt", "is no model file"),
    "no such file": ("sites nothing.pt", "There is no file"),
    "an unknown unit": ("export model.pt -o new.pt --energy-unit kJ/mol", "eV, kcal/mol"),
    "an unknown dtype": ("export model.pt -o new.pt --dtype half", "float32 or float64"),
    "an unknown element": ("export model.pt -o new.pt --elements H,Xx", "Xx"),
    "a basis for a spec": ("convert model.pt -o new.pt --spec chebyshev1", "Did you mean 'taafs:chebyshev1'"),
    "an unknown study": ("reproduce deepmd-ku", "Did you mean 'deepmd-cu'"),
    "an unknown set of data": ("data get nothing", "lies below"),
    "nothing to draw": ("plot model.pt -o new.png", "trainable"),
    "nothing to pick": ("pick model.pt -o new.pt", "adact"),
    "structures that are none": ("export model.pt -o new.pt --structures text.pt", "ASE cannot read"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", COMMANDS)
def test_a_mistake_on_the_command_line(mistake, models, monkeypatch):
    command, words = COMMANDS[mistake]
    monkeypatch.chdir(models)
    before = sorted(path.name for path in models.iterdir())
    result = CliRunner().invoke(app, command.split())
    said = result.stderr.strip()
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output + repr(result.exception)
    assert words in said and "\n" not in said and "Traceback" not in said
    assert sorted(path.name for path in models.iterdir()) == before


def test_what_is_frozen_is_said_and_long_values_are_short_in_a_notebook():
    model = stock()
    assert "frozen" not in str(taafs.sites(model))
    report = taafs.convert(model, "taafs")
    assert repr(report) == str(report) and len(repr(report)) < 200
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for act in taafs.trainable_activations(model).values():
        act.delta.requires_grad_(True)
    table = taafs.sites(model)
    numbers = sum(p.numel() for p in model.parameters())
    assert str(table).splitlines()[-1] == f"trainable: {8 * len(table)} of {numbers} parameters; the others are frozen" and repr(
        table
    ) == str(table)

"""What people write by mistake, each answered by one sentence with the way out; the tables hold kinds of mistakes, not all of a kind."""

import pytest
import torch
from ase import Atoms
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


def trained():
    model = stock()
    taafs.convert(model, "taafs", sites=["H"])
    return model


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
    "an unknown site": (lambda path: taafs.convert(stock(), "taafs", sites=["N"]), "No site matches 'N'.*groups C, H; taafs"),
    "a number for a site": (lambda path: taafs.convert(stock(), "taafs", sites=0), "names, groups or patterns"),
    "numbers for sites": (lambda path: taafs.convert(stock(), "taafs", sites=[0, 1]), "names, groups or patterns"),
    "a class for a model": (lambda path: taafs.convert(torch.nn.Linear, "taafs"), "Linear is a class and no model"),
    "a width below 1": (lambda path: taafs.make_activation("taafs,share=neuron", width=-1), "width=-1 is no number of neurons"),
    "a width as a word": (lambda path: taafs.make_activation("taafs,share=neuron", width="25"), "such as width=64"),
    "a rate as a word": (lambda path: taafs.parameter_groups(trained(), lr="1e-3"), "lr='1e-3' is no learning rate"),
    "a rate below 0": (lambda path: taafs.parameter_groups(trained(), 1e-3, coefficient_lr=-1), "coefficient_lr=-1 is no learning rate"),
    "an optimiser's name": (lambda path: taafs.check_optimizer(trained(), "adam"), "is no optimiser of torch"),
    "a parameter that is not there": (lambda path: taafs.freeze_all_but_coefficients(trained(), also="mlp"), "No parameter matches 'mlp'"),
    "a family by its name": (lambda path: taafs.register_family("my"), "takes a Family"),
    "a file for structures": (lambda path: taafs.export(stock(), path, structures="frames.xyz"), r"give ase\.io\.read\(file, ':'\)"),
    "one structure": (lambda path: taafs.export(stock(), path, structures=Atoms("H2")), r"\[atoms\] of one structure"),
    "coefficients to a folder": (lambda path: taafs.save_coefficients(trained(), path.parent), "is a folder; name a file"),
    "coefficients to nowhere": (lambda path: taafs.save_coefficients(trained(), path / "no" / "c"), "There is no folder"),
    "coefficients to where nobody writes": (lambda path: taafs.save_coefficients(trained(), "/proc/c"), "cannot be written"),
    "a model for coefficients": (lambda path: taafs.load_coefficients(stock(), __file__), "cannot be read as a coefficient file"),
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
    "one for each layer": (water(descriptor={"activation_function": ["taafs:chebyshev1", "tanh"]}), "is a list; give one text"),
    "a table": (water(fitting_net={"activation_function": {"taafs": "bspline"}}), "is a dict; give one text"),
    "an unknown base": (water(descriptor={"activation_function": "taafs:bspline,base=tahn"}), "base=tahn is not an activation"),
    "too few coefficients": (water(descriptor={"activation_function": "taafs:chebyshev1,theta=1/2"}), "needs 8 numbers, got 2"),
    "a misspelt key": (water(descriptor={"activation_fuction": "taafs:bspline"}), "the key is 'activation_function'"),
    "among the neurons": (water(fitting_net={"neuron": ["taafs:bspline"]}), "the key is 'activation_function'"),
    "a descriptor that was not tested": (water(descriptor={"type": "dpa4", "activation_function": "taafs"}), "'dpa4' was not tested"),
    "no object": ([water()], "a JSON object with the key 'model', not a list"),
    "outside of the model": ({**water(), "activation_function": "taafs:chebyshev1", "training": {"act": "taafs:bspline"}}, "the key is"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", INPUTS)
def test_a_mistake_in_an_input_file(mistake):
    config, words = INPUTS[mistake]
    with pytest.raises(deepmd_input.InputError, match=words) as error:
        deepmd_input.check(config, "pt")
    sentence(error.value)


def test_what_is_wrong_beside_specs_is_left_for_the_host_to_say():
    for section in ({"training": "fast"}, {"training": {"zero_stage": "2"}}, {"optimizer": "Adam"}):
        config = {**water(descriptor={"activation_function": "taafs"}), **section}
        deepmd_input.check(config, "pt")
        deepmd_input.with_resolved_specs(config)
    deepmd_input.check(water(descriptor={"type": "hybrid", "list": None, "activation_function": "taafs"}), "pt")


def test_an_input_without_mistakes_is_taken():
    deepmd_input.check(water(descriptor={"activation_function": "taafs:chebyshev1"}, fitting_net={"activation_function": "tanh"}), "pt")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model file of TorchANI, one that was exported, a state dict and a text."""
    folder = tmp_path_factory.mktemp("models")
    model = stock()
    torch.save(model, folder / "model.pt")
    torch.save(model.state_dict(), folder / "state.pt")
    torch.save(trained(), folder / "trained.pt")
    torch.save(torch.nn.Linear(2, 2), folder / "linear.pt")
    taafs.export(model, folder / "exported.pt")
    (folder / "text.pt").write_text("no model")
    (folder / "lj.lmp").write_text("units metal\npair_style lj/cut 3\n")
    (folder / "in.lmp").write_text("units metal\npair_style taafs\npair_coeff * * nothing.pt H\n")
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
    "a span of nothing": ("plot trained.pt -o new.png --span 0", "--span 0 must be a number above 0"),
    "a span that is no number": ("plot trained.pt -o new.png --span nan", "--span nan must be a number above 0"),
    "a model twice": ("plot trained.pt ./trained.pt -o new.gif", "named twice"),
    "two kinds of pictures": ("plot --training --parity trained.pt -o new.png", "give one of them"),
    "no ending": ("plot trained.pt -o new", "does not end like a picture"),
    "no time": ("demo --minutes 0 --output demo", "--minutes 0 must be a number above 0"),
    "time below 0": ("demo --minutes -2 --output demo", "--minutes -2 must be a number above 0"),
    "a model twice trained": ("convert trained.pt -o new.pt --spec taafs", "is converted already"),
    "an unknown site": ("convert model.pt -o new.pt --spec taafs --site N", "taafs sites FILE"),
    "a network of one's own": ("sites linear.pt", "is no model file"),
    "a folder": ("sites .", "There is no file ."),
    "a script that is none": ("lammps run exported.pt", "is no text"),
    "a script for other styles": ("lammps run lj.lmp", "must have one pair_style, taafs"),
    "a model that is not there": ("lammps run in.lmp", "There is no file nothing.pt"),
    "an unknown device": ("lammps run in.lmp --device tpu", "choose cpu or cuda"),
    "a neuron where there is none": ("distil trained.pt --neuron 1", "--neuron is for activations of share=neuron"),
    "a range that is empty": ("distil trained.pt --low 3 --high 1", "give --low below --high"),
    "frames before the model": ("choose text.pt model.pt", "is no model file"),
    "a place where nobody writes": ("convert model.pt -o /proc/new.pt --spec taafs", "cannot be written"),
    "elements with semicolons": ("export model.pt -o new.pt --elements H;C", "is no chemical symbol"),
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

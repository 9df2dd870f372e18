"""CHGNet 0.3.0 as it is (stock.pth.tar), and with trained activations fitted to magnetic iron (iron.pth.tar): 136 numbers, no weight."""

import sys

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import taafs_plugins as taafs
from taafs_plugins import data
from taafs_plugins.experiments.chgnet import fine_tune, iron, pretrained


def main(frames: int = 64, epochs: int = 5, learning_rate: float = 3e-3) -> None:
    """Convert, calibrate, train with CHGNet's own Trainer, save as it saves."""
    taafs.enable("chgnet")  # CHGNet's saved files may hold specs from here on
    training, validation, _, _ = iron(frames, 8, 8)
    model = pretrained()
    torch.save({"model": model.as_dict()}, "stock.pth.tar")
    print(taafs.convert(model, "taafs:chebyshev1,scale=auto"))
    with taafs.calibrate(model):  # the width of each site's inputs
        model.predict_structure(list(training.structures[:24]), task="e")
    taafs.freeze_all_but_coefficients(model)
    with Progress(TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=epochs * -(-frames // 8))
        trainer = fine_tune(model, training, validation, lr=learning_rate, epochs=epochs, seed=1, tick=lambda: bar.advance(task))
    error = trainer.training_history["e"]["val"]
    print(f"energy error of the validation frames, first and last epoch: {1e3 * error[0]:.1f}, {1e3 * error[-1]:.1f} meV/atom")
    trainer.save("iron.pth.tar")


if __name__ == "__main__":
    try:
        typer.run(main)
    except data.DataError as error:
        sys.exit(str(error))

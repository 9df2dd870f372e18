"""CHGNet files that version 0.1 wrote give the same numbers, and training from them goes as it did."""

import numpy as np
import stored_chgnet
from chgnet.trainer import Trainer
from stored_files import V0_1, assert_as_stored, assert_trained_as_stored

import taafs_plugins as taafs


def test_a_trainer_file_a_model_saved_whole_and_coefficients_give_the_same_numbers():
    assert_as_stored("chgnet", stored_chgnet.values())


def test_the_trainer_takes_its_file_up_again():
    trainer = stored_chgnet.quiet(Trainer.load, str(V0_1 / "chgnet" / "trainer.pth.tar"))
    names = {name for name, p in trainer.model.named_parameters() if name.endswith(".delta")}
    assert len(names) == len(taafs.activations(trainer.model)) == 8
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert all(id(act.delta) in held for act in taafs.activations(trainer.model).values())


def test_the_hosts_own_prediction_in_float32_agrees():
    from stored_files import references

    model = stored_chgnet.quiet(stored_chgnet.CHGNet.from_file, str(V0_1 / "chgnet" / "trainer.pth.tar"))
    found, stored = model.predict_structure(stored_chgnet.structure()), references("chgnet")["files"]["trainer.pth.tar"]
    for name, key in {"energy": "e", "forces": "f", "stress": "s", "magmoms": "m"}.items():
        np.testing.assert_allclose(found[key], np.reshape(stored[name], np.shape(found[key])), rtol=1e-4, atol=1e-5)


def test_training_goes_as_it_did():
    assert_trained_as_stored("chgnet", stored_chgnet.train())

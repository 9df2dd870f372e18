"""TorchANI files that version 0.1 wrote give the same numbers, and training from them goes as it did."""

import stored_torchani
from stored_files import assert_as_stored, assert_trained_as_stored


def test_a_model_saved_whole_a_state_dict_and_coefficients_give_the_same_numbers():
    assert_as_stored("torchani", stored_torchani.values())


def test_training_goes_as_it_did():
    assert_trained_as_stored("torchani", stored_torchani.train())

"""DeePMD-kit files that version 0.1 wrote give the same numbers, and ``dp --pt train`` goes as it did."""

import stored_deepmd
from stored_files import assert_as_stored, assert_trained_as_stored


def test_checkpoints_frozen_models_of_every_form_and_dp_files_give_the_same_numbers(tmp_path):
    assert_as_stored("deepmd", stored_deepmd.values(tmp_path))


def test_training_goes_as_it_did():
    assert_trained_as_stored("deepmd", stored_deepmd.train())

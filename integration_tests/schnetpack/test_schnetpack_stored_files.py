"""SchNetPack files that version 0.1 wrote give the same numbers, and training from them goes as it did."""

import stored_schnetpack
from stored_files import assert_as_stored, assert_trained_as_stored


def test_best_models_and_deployed_files_give_the_same_numbers():
    assert_as_stored("schnetpack", stored_schnetpack.values())


def test_training_goes_as_it_did():
    assert_trained_as_stored("schnetpack", stored_schnetpack.train())

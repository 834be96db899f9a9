"""A model family is a config, a module and a cost, with an entry in a table for each."""

from pathlib import Path

from tests.extending.package import TRAIN, ExtendedPackage, tiny_run

TOUCHED = {
    "scaling/config/bag_of_words.py",
    "scaling/config/model.py",
    "scaling/estimate/families/__init__.py",
    "scaling/estimate/families/bag_of_words.py",
    "scaling/models/bag_of_words.py",
    "scaling/models/build.py",
}


def test_a_family_is_three_files_and_an_entry_for_each(tmp_path: Path) -> None:
    package = ExtendedPackage(tmp_path, "A model family")
    assert package.touched == TOUCHED
    model = {"family": "bag_of_words", "name": "bag"}
    found = package.run(TRAIN, tiny_run(tmp_path, model))
    assert (found["family"], found["objective"], found["status"]) == ("bag_of_words", "causal", "finished")
    assert found["counted"] == found["parameters"] == 257 * 8
    assert 0 < found["loss"] < 5.6 and found["step_seconds"] > 0

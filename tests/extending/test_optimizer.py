"""An optimizer is an entry in a table of facts and one in a table of updates."""

from pathlib import Path

from tests.extending.package import TRAIN, ExtendedPackage, tiny_run

TOUCHED = {"scaling/config/train.py", "scaling/train/optimizers.py"}


def test_an_optimizer_is_two_entries(tmp_path: Path) -> None:
    package = ExtendedPackage(tmp_path, "An optimizer")
    assert package.touched == TOUCHED
    model = {"n_layers": 1, "n_heads": 1}
    found = package.run(TRAIN, tiny_run(tmp_path, model, optimizer="momentum"))
    assert found["status"] == "finished" and 0 < found["loss"] < 5.6
    assert found["state"] == found["kept"] == found["parameters"]

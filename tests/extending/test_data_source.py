"""A data source is a file and an entry in each of two tables."""

from pathlib import Path

from tests.extending.package import ExtendedPackage

TOUCHED = {
    "scaling/config/data.py",
    "scaling/data/sources/csv_column.py",
    "scaling/data/sources/open.py",
}
DESCRIBE = """
import json, sys
from dataclasses import asdict
from scaling.config.data import DataConfig
from scaling.data.ahead import data_ahead
from scaling.data.corpus import describe

config = DataConfig(source=sys.argv[1], field="review", sequence_length=16, validation_fraction=0.3)
print(json.dumps([asdict(describe(config)), asdict(data_ahead(config))]))
"""


def test_a_data_source_is_a_file_and_two_entries(tmp_path: Path) -> None:
    package = ExtendedPackage(tmp_path, "A data source")
    assert package.touched == TOUCHED
    texts = [f"document {i} says {'well ' * (i % 7)}" for i in range(40)]
    (tmp_path / "reviews.csv").write_text("id,review\n" + "".join(f"{i},{t}\n" for i, t in enumerate(texts)))
    held, ahead = package.run(DESCRIBE, f"csv:{tmp_path}/reviews.csv")
    assert held["documents"] == 40 and held["bytes"] == sum(map(len, texts))
    assert held["tokens"] == held["bytes"] + 40 and held["validation_documents"] > 0
    assert ahead["documents"] == 40 and ahead["split"].startswith("by document")

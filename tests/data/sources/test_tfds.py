import pickle
import sys

import numpy as np
import pytest

from scaling.config.data import DataConfig
from scaling.data.corpus import open_corpus
from scaling.data.sources import open_source
from scaling.runtime.errors import BadInputError

TEXTS = [f"document {n}: é\n" for n in range(40)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A dataset `tiny_lines` prepared on disk; its class is not registered: only the files are known."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("tfds")

    class TinyLines(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": tfds.features.Text(),
                "number": tfds.features.Scalar(np.int64),
                "words": tfds.features.Sequence(tfds.features.Text()),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(TEXTS), "test": self._generate_examples(TEXTS[:5])}

        def _generate_examples(self, texts):
            for number, text in enumerate(texts):
                yield number, {"text": text, "number": number, "words": text.split()}

    TinyLines(data_dir=folder, file_format="array_record").download_and_prepare()
    return str(folder)


def test_round_trip_without_tensorflow(data_dir, capfd, read):
    source = open_source(DataConfig(source="tfds:tiny_lines", data_dir=data_dir))
    assert sorted(read(source)) == sorted(TEXTS)
    assert read(source, 100) == read(source) and len(source.parts(100)) > 5
    assert [list(pickle.loads(pickle.dumps(part)).documents()) for part in source.parts()] == [read(source)]
    assert "tensorflow" not in sys.modules
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ("tiny_lines:test", 5),
        ("tiny_lines:1.0.0", 40),
        ("tiny_lines:1.0.0:test", 5),
        ("tiny_lines:train[:25%]", 10),
        ("tiny_lines:train[10:]+test", 35),
    ],
)
def test_versions_and_splits(data_dir, read, spec, count):
    assert len(read(open_source(DataConfig(source=f"tfds:{spec}", data_dir=data_dir)))) == count


def test_it_trains_through_the_whole_pipeline(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", data_dir)
    config = DataConfig(
        source="tfds:tiny_lines", data_dir=data_dir, sequence_length=16, validation_fraction=0.2
    )
    summary = open_corpus(config).summary()
    assert (summary.documents, summary.bytes) == (40, sum(len(text.encode()) for text in TEXTS))


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ("tiny_lines:nope", "text", "Unknown split 'nope'. Should be one of ['train', 'test']"),
        ("tiny_lines:train[:x]", "text", "split"),
        ("tiny_lines:train[:0]", "text", "is empty"),
        ("tiny_lines", "body", "the features there are: number, text, words"),
        ("tiny_lines", "number", "not text"),
        ("tiny_lines", "words", "not text"),
        ("no_such_dataset_here", "text", "TFDS knows no dataset of this name, and none is prepared under"),
        ("tiny_lines:9.9.9", "text", "tiny_lines"),
        ("tiny lines", "text", "give tfds:NAME"),
    ],
)
def test_bad_input_is_one_line(data_dir, spec, field, says):
    with pytest.raises(BadInputError) as error:
        open_source(DataConfig(source=f"tfds:{spec}", field=field, data_dir=data_dir))
    assert says in str(error.value)
    assert len(str(error.value)) < 600


def test_a_preparation_that_fails_is_one_line(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class CannotBePrepared(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            raise ConnectionError("no network")

        def _generate_examples(self):
            yield from ()

    with pytest.raises(BadInputError, match="preparing it failed: ConnectionError: no network"):
        open_source(DataConfig(source="tfds:cannot_be_prepared", data_dir=str(tmp_path)))

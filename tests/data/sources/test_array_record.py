"""ArrayRecord files of text, of JSON and of tf.train.Example."""

import json

import pytest

from scaling.config.data import DataConfig
from scaling.data.ahead import data_ahead
from scaling.data.sources import Malformed, open_source
from scaling.runtime.errors import BadInputError

TEXTS = [f"document {n}: é\n" * (n % 9) for n in range(60)]


def write(path, records):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def example(**features) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    message = tf_example_pb2.Example()
    for name, value in features.items():
        if isinstance(value, int):
            message.features.feature[name].int64_list.value.append(value)
        else:
            message.features.feature[name].bytes_list.value.append(value)
    return bytes(message.SerializeToString())


RECORDS = {
    "text": lambda text: text.encode(),
    "json": lambda text: json.dumps({"id": 1, "text": text}).encode(),
    "example": lambda text: example(number=3, text=text.encode()),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_each_kind_of_record_in_any_division(tmp_path, read, kind):
    records = [RECORDS[kind](text) for text in TEXTS]
    write(tmp_path / "a", records[:50])
    write(tmp_path / "b", records[50:])
    config = DataConfig(source=f"arrayrecord:{tmp_path}/?")
    source = open_source(config)
    target_bytes = (tmp_path / "a").stat().st_size // 5
    assert read(source) == read(source, target_bytes) == TEXTS
    assert len(source.parts(target_bytes)) > 4
    assert data_ahead(config).documents == pytest.approx(sum(map(bool, TEXTS)), rel=0.1)


def test_files_prepared_by_tfds_are_read(tmp_path, read):
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyRecords(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": ((i, {"text": text}) for i, text in enumerate(TEXTS))}

        def _generate_examples(self):
            yield from ()

    TinyRecords(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    source = open_source(DataConfig(source=f"arrayrecord:{tmp_path}/**/*.array_record*"))
    assert sorted(read(source)) == sorted(TEXTS)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([b"fine", b"caf\xe9"], "record 1: not UTF-8 text (byte 3)"),
        ([b'{"text": "fine"}', b'{"text": 3}'], "record 1: field 'text' holds int, expected a string"),
        ([b'{"body": "x"}'], "record 0: no field 'text' (data.field); its fields are: body"),
        ([example(text=b"fine"), b"text"], "record 1: not a tf.train.Example, as the first record is"),
        ([example(body=b"x", n=1)], "record 0: no feature 'text' (data.field); its features are: body, n"),
        ([example(text=1)], "record 0: feature 'text' holds int64_list, expected one string"),
        ([example(text=b"caf\xe9")], "record 0: not UTF-8 text"),
    ],
)
def test_bad_records_are_named(tmp_path, read, records, says):
    write(tmp_path / "a", records)
    config = DataConfig(source=f"arrayrecord:{tmp_path}/a")
    with pytest.raises(BadInputError) as error:
        read(open_source(config))
    assert f"{tmp_path}/a: {says}" in str(error.value)
    *good, malformed = read(open_source(config.model_copy(update={"on_error": "skip"})))
    assert good == ["fine"] * len(good) and isinstance(malformed, Malformed)


@pytest.mark.parametrize("damage", ["empty", "junk", "cut"])
def test_what_is_no_array_record_file(tmp_path, read, damage):
    path = tmp_path / "a"
    write(path, [b"fine"] * 1000)
    path.write_bytes({"empty": b"", "junk": b"junk" * 9999, "cut": path.read_bytes()[:-100]}[damage])
    with pytest.raises(BadInputError, match="a is not an ArrayRecord file, or is incomplete"):
        read(open_source(DataConfig(source=f"arrayrecord:{path}")))

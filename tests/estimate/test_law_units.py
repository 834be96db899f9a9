"""A law travels with its tokenizer: kept, converted through bytes, or refused."""

import pytest

from scaling.config.errors import BadInputError
from scaling.config.record import TokenizerInfo
from scaling.estimate.law_units import converted, for_model
from scaling.estimate.loss_law import LossLaw
from scaling.estimate.published_laws import PUBLISHED

CHINCHILLA = PUBLISHED["chinchilla"]


def law(**changes: object) -> LossLaw:
    known = {"name": "mine", "source": "mine", "E": 1.0, "A": 40.0, "B": 50.0, "alpha": 0.3, "beta": 0.28}
    tokenizer = TokenizerInfo(vocab_size=2048, bytes_per_token=3.0)
    return LossLaw.model_validate(known | {"tokenizer": tokenizer} | changes)


@pytest.mark.parametrize(
    ("vocabulary", "size", "pieces"),
    [(None, None, 2048), (2048, None, 2048), (2048, 3.0, 2048), (2048, 3.02, 2048), (2000, None, 2048)],
)
def test_the_tokenizer_of_the_law_is_the_models_where_none_is_given(vocabulary, size, pieces) -> None:
    """2,000 pieces are padded to the 2,048 rows that the law's models have."""
    found = for_model(law(), vocabulary, size)
    assert (found.law, found.vocab_size, found.notes) == (law(), pieces, ())


@pytest.mark.parametrize(("vocabulary", "size"), [(50257, None), (256, None), (50257, 0.0)])
def test_another_tokenizer_is_refused(vocabulary: int, size: float | None) -> None:
    with pytest.raises(BadInputError) as error:
        for_model(law(), vocabulary, size)
    assert f"--vocab-size {vocabulary}" in str(error.value) and "--bytes-per-token" in str(error.value)
    found = for_model(law(), vocabulary, size, force=True)
    assert found.law == law() and found.vocab_size == vocabulary and found.notes[0].startswith("forced")


def test_a_published_law_is_of_its_own_tokenizer() -> None:
    assert for_model(CHINCHILLA, None, None).vocab_size == 32_000
    with pytest.raises(BadInputError, match="32,000 pieces") as error:
        for_model(CHINCHILLA, 50257, 4.4)
    assert "--bytes-per-token" not in str(error.value)  # of the law they are not known


def test_conversion_keeps_the_nats_of_a_byte() -> None:
    found = for_model(law(ranges={"tokens": (1e8, 1e10), "params": (1e6, 1e8)}), 50257, 4.5)
    tokens = 1e9  # of the law, 3 bytes each; 4.5 bytes each of the model
    assert found.law.loss(1e8, tokens * 3.0 / 4.5) / 4.5 == pytest.approx(law().loss(1e8, tokens) / 3.0)
    assert found.law.ranges["tokens"] == pytest.approx((1e8 * 3 / 4.5, 1e10 * 3 / 4.5))
    assert found.law.ranges["params"] == (1e6, 1e8) and "converted" in found.notes[0]
    draws = ((1.0, 40.0, 50.0, 0.3, 0.28), (1.1, 30.0, 60.0, 0.31, 0.27))
    interval, _ = converted(law(draws=draws), 1.5).interval(1e8, tokens / 1.5)
    plain, _ = law(draws=draws).interval(1e8, tokens)
    assert interval == pytest.approx([1.5 * end for end in plain])


def test_the_same_pieces_of_other_sizes_are_another_tokenizer() -> None:
    assert for_model(law(), 2048, 4.0).law != law()


def test_a_law_that_does_not_name_its_tokenizer_says_so() -> None:
    found = for_model(law(tokenizer=None), None, None)
    assert found.vocab_size == 50257 and "does not name its tokenizer" in found.notes[0]


def test_another_unit_is_named() -> None:
    found = for_model(law(unit="bits per byte"), 50257, None)
    assert found.law.unit == "bits per byte" and "bits per byte" in found.notes[0]

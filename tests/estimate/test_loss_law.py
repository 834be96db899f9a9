"""Laws of the loss: published ones against their papers, law.json without NumPy, other tokenizers."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.config.record import TokenizerInfo
from scaling.estimate.loss_law import (
    PUBLISHED,
    LossLaw,
    converted,
    find_law,
    for_model,
    read_loss_law,
)
from scaling.laws.law import Law
from scaling.runtime.errors import BadInputError

CHINCHILLA, REPLICATION = PUBLISHED["chinchilla"], PUBLISHED["chinchilla-replication"]
GOPHER = 5.76e23  # FLOPs of Hoffmann et al. 2022


def document(**changes: object) -> dict[str, object]:
    """A law.json as `scaling fit` writes it."""
    parameters = {"E": 1.7, "A": 400.0, "B": 500.0, "alpha": 0.34, "beta": 0.3}
    fit = {
        "law": "chinchilla", "equation": "L = E + A / N^alpha + B / D^beta", "parameters": parameters,
        "intervals": {name: [0.9 * value, 1.1 * value] for name, value in parameters.items()},
        "objective": {"name": "huber", "delta": 1e-3, "value": 0.1}, "n_points": 20, "n_starts": 9,
        "n_starts_at_best": 9, "gradient_norm": 1e-9, "boundary_hits": [], "holdout": None, "optimum": None,
        "counting": {"params": "all parameters", "flops": "6ND"}, "n_selected": 20,
        "ranges": {"params": [1e6, 1e8], "tokens": [1e7, 1e9]}, "versions": {},
    }  # fmt: skip
    return fit | changes


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_the_optimum_of_approach_3_at_gophers_budget() -> None:
    """The paper says 40B (table A3's text and figure 4); that needs the exponents of its source, not the
    two digits that it prints, which give 32B."""
    digits = CHINCHILLA.model_copy(update={"alpha": 0.3392, "beta": 0.2849})
    assert digits.optimum(GOPHER)[0] == pytest.approx(40e9, rel=0.03)
    assert CHINCHILLA.optimum(GOPHER)[0] == pytest.approx(32e9, rel=0.02)
    # Besiroglu et al. 2024: their fit agrees with the 20 tokens a parameter of Chinchilla's other approaches.
    params, tokens = REPLICATION.optimum(GOPHER)
    assert 60e9 < params < 80e9 and 18 < tokens / params < 27


@pytest.mark.parametrize("law", PUBLISHED.values(), ids=list(PUBLISHED))
def test_the_closed_form_is_the_least_loss(law: LossLaw) -> None:
    for flops in (1e18, 1e21, GOPHER):
        params, tokens = law.optimum(flops)
        assert 6 * params * tokens == pytest.approx(flops)
        # First-order condition along 6ND = C: both terms fall equally fast in their logarithms.
        assert law.alpha * law.A * params**-law.alpha == pytest.approx(
            law.beta * law.B * tokens**-law.beta, rel=1e-9
        )
        least = law.loss(params, tokens)
        assert all(law.loss(params * x, tokens / x) > least for x in (0.5, 0.9, 1.1, 2.0))
        assert law.tokens_for(params, least) == pytest.approx(tokens)
    assert law.tokens_for(1e6, law.E) == math.inf


def test_intervals() -> None:
    interval, meaning = CHINCHILLA.interval(1e9, 2e10)
    assert interval is None and "without the uncertainty" in meaning
    interval, meaning = REPLICATION.interval(1e9, 2e10)
    assert interval is not None and interval[0] < REPLICATION.loss(1e9, 2e10) < interval[1]
    # No draw of parameters from inside their intervals gives a loss outside.
    inside = REPLICATION.model_copy(update={"alpha": 0.31, "beta": 0.40, "A": 300.0, "E": 1.87})
    assert interval[0] < inside.loss(1e9, 2e10) < interval[1] and "not known" in meaning
    far = CHINCHILLA.reach(1e12, 1e12)
    assert far is not None and far.far and "times the most parameters" in far.text
    assert CHINCHILLA.reach(1e9, 1e11) is None


def test_a_law_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "law.json", document())
    law = find_law(str(path))
    theirs = Law.model_validate(document())
    assert law.loss(3e8, 5e9) == pytest.approx(float(theirs.predict(params=3e8, tokens=5e9)))
    assert law.counts == "total" and law.note is None
    interval, _ = law.interval(3e8, 5e9)
    assert interval is not None and interval[0] < law.loss(3e8, 5e9) < interval[1]


def test_what_n_counts_is_read_from_its_own_key_and_not_from_words(tmp_path: Path) -> None:
    new = {"counts": {"params": "non_embedding", "flops": "6nd"}, "counting": {"params": "N", "flops": "C"}}
    law = read_loss_law(write(tmp_path / "law.json", document(**new)))
    assert law.counts == "non_embedding" and law.note is None
    column = {
        "counts": {"params": None, "flops": "6nd"},
        "counting": {"params": "column N of a.csv", "flops": "6ND"},
    }
    law = read_loss_law(write(tmp_path / "law.json", document(**column)))
    assert (
        law.counts == "non_embedding_with_head" and law.note is not None and "column N of a.csv" in law.note
    )
    unknown = document(counts={"params": "some", "flops": "6nd"})
    with pytest.raises(BadInputError, match="counts"):
        read_loss_law(write(tmp_path / "law.json", unknown))


def test_the_bootstrap_of_ones_own_law_is_the_interval(tmp_path: Path) -> None:
    samples = {"E": [1.6, 1.7, 1.8], "A": [300.0, 400, 500], "B": [500.0, 500, 500],
               "alpha": [0.33, 0.34, 0.35], "beta": [0.3, 0.3, 0.3]}  # fmt: skip
    boot = {"n": 3, "level": 0.9, "unit": "run", "seed": 0, "samples": samples}
    fit = document(bootstrap=boot)
    law = read_loss_law(write(tmp_path / "law.json", fit))
    interval, meaning = law.interval(3e8, 5e9)
    theirs = Law.model_validate(fit).interval(params=3e8, tokens=5e9)
    assert interval is not None and theirs is not None and "90%" in meaning
    assert interval == pytest.approx([float(bound) for bound in theirs])


def test_a_law_without_a_floor_that_its_points_determine(tmp_path: Path) -> None:
    """The limiting form: E is 0, and the lower end of its interval is open."""
    fit = document()
    fit["parameters"] |= {"E": 0.0}  # type: ignore[operator]
    fit["intervals"] |= {"E": [None, 0.4]}  # type: ignore[operator]
    law = read_loss_law(write(tmp_path / "law.json", fit))
    assert law.E == 0 and law.interval(3e8, 5e9)[0] is None
    samples = {name: [value] * 3 for name, value in fit["parameters"].items()}  # type: ignore[attr-defined]
    samples["A"][1] = None
    boot = {"n": 3, "level": 0.9, "unit": "run", "seed": 0, "samples": samples}
    law = read_loss_law(write(tmp_path / "law.json", fit | {"bootstrap": boot}))
    assert len(law.draws) == 2


BAD = [
    ("{", "not a law.json"),
    ("[]", "not a law.json"),
    ("", "not a law.json"),
    (json.dumps({"law": "chinchilla"}), "parameters"),
    (json.dumps(document(law="kaplan-joint")), "--law chinchilla"),
    (json.dumps(document(parameters={"E": 1.0, "A": 2.0})), "it has no B, alpha, beta"),
    (json.dumps(document(parameters=dict.fromkeys("EAB", 1.0) | {"alpha": None, "beta": 1.0})), "no alpha:"),
    (json.dumps(document()).replace("400.0", "-400.0", 1), "A: input should be greater than 0"),
    (json.dumps(document()).replace("400.0", "NaN", 1), "finite"),
]


@pytest.mark.parametrize(("text", "says"), BAD, ids=[says for _, says in BAD])
def test_files_that_are_no_such_law(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "law.json").write_text(text)
    with pytest.raises(BadInputError, match=says) as error:
        find_law(str(tmp_path / "law.json"))
    assert "\n" not in str(error.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*document(), "E", "A", "bootstrap"]), inner, max_size=6)
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(document() | value if isinstance(value, dict) else value).encode()),
    )
)
def test_any_file_is_a_law_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "law.json"
    path.write_bytes(content)
    try:
        law = read_loss_law(path)
    except BadInputError as error:
        assert "\n" not in str(error)
    else:
        assert math.isfinite(law.loss(1e9, 1e10))


def test_unknown_names() -> None:
    for name in ("kaplan", "nowhere/law.json", ""):
        with pytest.raises(BadInputError, match="--law"):
            find_law(name)


def test_neither_numpy_nor_jax_is_imported() -> None:
    code = (
        "import sys, scaling.estimate.loss_law, scaling.estimate.alternatives, scaling.api.plans;"
        "assert not {'numpy', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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

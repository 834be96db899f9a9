"""The same table in every accepted spelling gives the same points; wrong units are never silently read."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.laws import read_points
from scaling.runtime.errors import BadInputError

N = np.array([1e7, 1e7, 2.5e7, 2.5e7, 7e7, 7e7, 2e8, 2e8])
D = N * np.array([5.0, 20.0, 8.0, 40.0, 20.0, 100.0, 10.0, 60.0])
LOSS = np.round(1.8 + 480 / N**0.35 + 2085 / D**0.37, 5)

COUNT_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}
FLOPS_UNITS = {"": 1.0, "GFLOPs": 1e9, "PFLOPs": 1e15, "1e18": 1e18, "petaFLOP/s-days": 8.64e19}
PARAMS = ["params", "Params", "N", "n_params", "nParams", "num_params", "parameter_count", "Model size"]
TOKENS = ["tokens", "Tokens", "D", "n_tokens", "tokens_seen", "train/total_tokens", "Training tokens"]
FLOPS = ["flops", "FLOPs", "C", "Training FLOPs", "total_flops", "Compute"]
LOSSES = ["loss", "Loss", "val_loss", "eval/loss", "Validation Loss", "L"]


def plain(value: float) -> str:
    return f"{value:.15g}"


def grouped(text: str, group: str) -> str:
    """A plain number with groups of thousands."""
    whole, point, fraction = text.partition(".")
    return text if "e" in text else f"{int(whole):,}".replace(",", group) + point + fraction


@st.composite
def spellings(draw):
    """A header and rows of the same runs, as some person or tool may have written them."""
    separator = draw(st.sampled_from([",", ";", "\t"]))
    mark = draw(st.sampled_from([".", ","])) if separator != "," else "."
    columns = []
    for names, values, units in (
        (PARAMS, N, COUNT_UNITS),
        (TOKENS, D, COUNT_UNITS),
        (FLOPS, 6 * N * D, FLOPS_UNITS),
    ):
        name, unit = draw(st.sampled_from(names)), draw(st.sampled_from(list(units)))
        scaled = values / units[unit]
        how = draw(st.sampled_from(["header", "suffix"])) if units is COUNT_UNITS and unit else "header"
        style = draw(st.sampled_from(["plain", "exponent", "thousands", "underscores"]))
        cells = []
        for value in scaled.tolist():
            text = plain(value)
            if style == "exponent":
                text = f"{value:.14e}"
            if style == "underscores" and value == round(value):
                text = f"{int(value):_}"
            if style == "thousands":
                text = grouped(text, draw(st.sampled_from([" ", "'", "\N{NO-BREAK SPACE}", "G"])))
            text = text.translate({ord("."): mark, ord("G"): "," if mark == "." else "."})
            if how == "suffix":
                text += draw(st.sampled_from(["", " "])) + unit
            cells.append(text)
        head = name + (
            draw(st.sampled_from([f" ({unit})", f" [{unit}]"])) if unit and how == "header" else ""
        )
        columns.append((head, cells))
    unit = draw(st.sampled_from(["", "nats", "bits", "ppl"]))
    losses = {"": LOSS, "nats": LOSS, "bits": LOSS / math.log(2), "ppl": np.exp(LOSS)}[unit]
    name = draw(st.sampled_from(LOSSES)) + (f" ({unit})" if unit else "")
    columns.append((name, [plain(v).replace(".", mark) for v in losses.tolist()]))
    dropped = draw(st.sampled_from([None, None, 1, 2]))  # tokens follow from FLOPs, and FLOPs from tokens
    columns = [column for i, column in enumerate(columns) if i != dropped]
    columns = draw(st.permutations(columns))

    def line(cells):
        return separator.join(f'"{cell}"' if separator in cell else cell for cell in cells)

    rows = [
        line(head for head, _ in columns),
        *(line(row) for row in zip(*(c for _, c in columns), strict=True)),
    ]
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    text = ending.join(rows) + ending
    return draw(st.sampled_from([text.encode(), text.encode("utf-8-sig"), text.encode("utf-16")]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=spellings())
def test_every_spelling_gives_the_same_points(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "spelled.csv"
    path.write_bytes(content)
    points = read_points(path)
    np.testing.assert_allclose(points.params, N, rtol=1e-9)
    np.testing.assert_allclose(points.tokens, D, rtol=1e-9)
    np.testing.assert_allclose(points.flops, 6 * N * D, rtol=1e-9)
    np.testing.assert_allclose(points.loss, LOSS, rtol=1e-9)
    assert points.loss_unit == "nats per token"


@settings(max_examples=100, deadline=None)
@given(
    n=st.sampled_from([1.0, 1e3, 1e6, 1e9]),
    d=st.sampled_from([1.0, 1e3, 1e6, 1e9, 1e12]),
    c=st.sampled_from([1.0, 1e9, 1e12, 1e15, 1e18, 8.64e19]),
    with_flops=st.booleans(),
)
def test_wrong_units_are_never_silently_read(tmp_path_factory, n, d, c, with_flops):
    """Without their units in the header. A consistent factor of N and D alone shows in their sizes, and
    that of sizes in thousands, which are sizes too, only in the compute."""
    path = tmp_path_factory.getbasetemp() / "units.csv"
    columns = {"params": N / n, "tokens": D / d, "loss": LOSS} | (
        {"flops": 6 * N * D / c} if with_flops else {}
    )
    rows = [",".join(columns), *(",".join(map(plain, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows))
    right = n == d == 1 and (c == 1 or not with_flops)
    undecidable = not with_flops and n in (1, 1e3) and d in (1, 1e3)
    if right:
        assert read_points(path).notes == ()
    elif not undecidable:
        with pytest.raises(BadInputError, match=r"likely|check the units|implausible") as refusal:
            read_points(path)
        assert "\n" not in str(refusal.value)
        assert read_points(path, force=True).doubts


def write(tmp_path, columns):
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(rows))
    return path


BILLIONS = {"params": N / 1e9, "tokens": D / 1e9, "loss": LOSS}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (BILLIONS, "likely params in billions and tokens in billions"),
        (BILLIONS | {"params": N / 1e6}, "likely params in millions and tokens in billions"),
        (BILLIONS | {"params": N}, "likely tokens in billions"),
        (BILLIONS | {"tokens": D}, "likely params in billions"),
        (
            {"params": N, "tokens": D / 1e6, "loss": LOSS},
            "tokens.*too small for a count; likely tokens in millions",
        ),
        ({"params": N, "tokens": D, "loss": LOSS, "flops": 6 * N * D / 1e9}, "likely flops in GFLOPs"),
        (
            {"params": N, "tokens": D, "loss": LOSS, "C": 6 * N * D / 8.64e19},
            r"C \(flops\) in petaFLOP/s-days",
        ),
        ({"params": N / 1e3, "tokens": D, "loss": LOSS, "flops": 6 * N * D}, "likely params in thousands"),
        ({"params": N, "tokens": D, "loss": np.exp(LOSS)}, "likely perplexities"),
        ({"params": N, "tokens": D, "loss": 8 - LOSS}, "rises with compute"),
        ({"params": N, "tokens": D, "loss": LOSS, "vocab_size": [8] * 8}, "of guessing among 8 tokens"),
        (
            {"params": [*N[:-1], 0.2], "tokens": D, "loss": LOSS},
            "0.2 in line 9, too small.*in the unit of the others",
        ),
        ({"params": N, "tokens": D, "loss": LOSS, "flops": [*(6 * N * D)[:-1], 7.2e8]}, "in line 9.*others"),
        ({"params (M)": N, "tokens": D, "loss": LOSS}, "too large for a count|is implausible"),
    ],
)
def test_the_question_names_the_likely_unit(tmp_path, columns, words):
    path = write(tmp_path, columns)
    with pytest.raises(BadInputError, match=words):
        read_points(path)
    assert len(read_points(path, force=True).doubts) >= 1


def test_what_the_question_offers_answers_it(tmp_path):
    """Both the header and the option that the line names."""
    path = write(tmp_path, BILLIONS)
    np.testing.assert_allclose(read_points(path, {"params": "params*1e9", "tokens": "tokens*B"}).tokens, D)
    points = read_points(write(tmp_path, {"params (B)": N / 1e9, "tokens (B)": D / 1e9, "loss": LOSS}))
    np.testing.assert_allclose(points.params, N)
    assert "params: column params (B) is read in B (x 1e+09)" in points.notes
    points = read_points(
        write(tmp_path, {"params": N, "tokens": D, "loss": np.exp(LOSS)}), {"perplexity": "loss"}
    )
    np.testing.assert_allclose(points.loss, LOSS)


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("params,tokens,loss", "125m,300B,3.1", (1.25e8, 3e11, 3.1)),
        ("params,tokens,loss", "10M,1.4T,3.1", (1e7, 1.4e12, 3.1)),
        ("params,tokens,loss", '"1,300,000","26,000,000",3.1', (1.3e6, 2.6e7, 3.1)),
        ("params,tokens,loss", '"5,000","100,000",3.1', (5e3, 1e5, 3.1)),
        ("params,tokens,loss", "1_000_000,2e7,3.1", (1e6, 2e7, 3.1)),
        ("params,tokens,loss", "3 x 10^8,6*10**9,3.1", (3e8, 6e9, 3.1)),
        ("params;tokens;loss", "5.000.000;100.000.000;3,14", (5e6, 1e8, 3.14)),
        ("params;tokens;loss", "5000000;100000000;3,141", (5e6, 1e8, 3.141)),
        ("params;tokens (B);loss", "5 000 000;0,1;3,141", (5e6, 1e8, 3.141)),
        ("params,tokens,loss", "125 million,2.5 billion tokens,3.1", (1.25e8, 2.5e9, 3.1)),
        ("N,D,ppl", "1e8,2e9,20", (1e8, 2e9, math.log(20))),
        ("N,D,loss (bits)", "1e8,2e9,4", (1e8, 2e9, 4 * math.log(2))),
        ("params,flops,loss", "1e8,1.2e18,3.1", (1e8, 2e9, 3.1)),
        ("params,compute (PF-days),loss", "1e8,0.0138888888888889,3.1", (1e8, 2e9, 3.1)),
        ("params,total_gflops,loss", "1e8,1.2e9,3.1", (1e8, 2e9, 3.1)),
        ("params,tokens_per_param,loss", "1e8,20,3.1", (1e8, 2e9, 3.1)),
    ],
)
def test_spellings_of_numbers(tmp_path, header, row, expected):
    path = tmp_path / "one.csv"
    path.write_text(f"{header}\n{row}\n")
    points = read_points(path)
    found = (points.params[0], points.tokens[0], points.loss[0])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("params,tokens,loss\n1e8,2e9,45%\n", "'%' is not a unit of loss"),
        ("params,tokens,loss\n1e8,2 apples,3\n", "'apples' is not a unit of tokens"),
        ('params,tokens,loss\n"5,000,00",2e9,3.1\n', "line 2, column params: '5,000,00'"),
        (
            'params,tokens,loss\n1e8,"1.234,5",3.1\n',
            "'3.1' has a decimal point and '1.234,5' a decimal comma",
        ),
        ("params;tokens;loss\n5,000;1e9;3,141\n", "'5,000' has a decimal point and '3,141' a decimal comma"),
        ("N,D,val_loss,test_loss\n1e8,2e9,3,3\n", "loss could be 'val_loss' or 'test_loss'; name one"),
        ("N,D,ppl\n1e8,2e9,0.9\n", "give a perplexity above 1"),
        ("N,parameters,tokens,loss,Params\n1,1,1,1,1\n", "params could be 'parameters' or 'Params'"),
    ],
)
def test_what_can_be_read_in_two_ways_is_one_line(tmp_path, text, words):
    path = tmp_path / "unclear.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=words):
        read_points(path)


def test_shares_in_percent_are_shares(tmp_path):
    path = tmp_path / "error.csv"
    path.write_text("params,tokens,loss,error\n1e8,2e9,3.1,45%\n1e9,2e9,2.9,30%\n")
    np.testing.assert_allclose(read_points(path).error, [0.45, 0.30])


def test_a_validation_loss_is_read_before_a_training_loss(tmp_path):
    path = tmp_path / "both.csv"
    path.write_text("N,D,train_loss,val_loss\n1e8,2e9,3,3.1\n")
    assert read_points(path).loss.tolist() == [3.1]
    path.write_text("N,D,train_loss\n1e8,2e9,3\n")
    points = read_points(path)
    assert points.columns["split"] == ("train",)
    assert points.notes == ("columns by their names: params = N, tokens = D, loss = train_loss",)


def test_bytes_of_a_token_follow_from_a_loss_in_both_units(tmp_path):
    path = tmp_path / "both.csv"
    path.write_text("N,D,loss,bits_per_byte,tokenizer,vocab_size\n1e8,2e9,3.1,1.0,bpe,50257\n")
    (info,) = read_points(path).tokenizers
    assert (info.name, info.vocab_size) == ("bpe", 50257)
    assert info.bytes_per_token == pytest.approx(3.1 / math.log(2))
    path.write_text("N,D,bpb\n1e8,2e9,1.0\n")
    assert read_points(path).loss_unit == "bits per byte"

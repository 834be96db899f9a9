import pytest

from scaling.laws import LAWS
from scaling.plots.labels import (
    greek,
    markup,
    mathtext,
    quantity,
)


def test_equations_have_greek_letters_and_powers():
    equation = LAWS["chinchilla"].equation
    assert greek(equation) == "L(N, D) = E + A / N^α + B / D^β"
    assert markup(equation) == "L(N, D) = E + A / N<sup>α</sup> + B / D<sup>β</sup>"
    assert "(N<sub>c</sub> / N)<sup>α<sub>N</sub> / α<sub>D</sub></sup>" in markup(
        LAWS["kaplan-tokens"].equation
    )
    assert "C<sup>\N{MINUS SIGN}η</sup>" in markup(LAWS["over-training"].equation)


def test_other_text_is_escaped_and_words_stay_words():
    assert markup("a < b & alphabet") == "a &lt; b &amp; alphabet"
    assert greek("learning_rate on the lowest loss") == "learning_rate on the lowest loss"


@pytest.mark.parametrize(
    ("name", "text"),
    [("alpha_N", "$\\alpha_{N}$"), ("Nc", "$N_{c}$"), ("E", "$E$"), ("tokens_per_param", "tokens per param")],
)
def test_parameters_as_labels(name, text):
    assert mathtext(name) == text


def test_no_raw_name_is_left_of_any_parameter():
    for law in LAWS.values():
        for name in law.parameter_names:
            assert "_" not in mathtext(name).replace("_{", "")
    assert quantity("tokens_per_param", ("E",)) == "optimal tokens per parameter"
    assert quantity("a", ("a", "b")) == "a"

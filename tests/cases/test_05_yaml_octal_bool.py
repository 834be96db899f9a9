"""Case 05: numbers and booleans are YAML 1.2's, everywhere that YAML is read."""

from pathlib import Path

import pytest

from scaling.config.load import load_run
from scaling.runtime.errors import BadInputError

RUN = str(Path(__file__).parent / "05-yaml-octal-bool" / "run.yaml")


def test_leading_zeros_are_decimal_and_yes_is_no_number() -> None:
    with pytest.raises(BadInputError, match=r"train\.checkpoint_every: 'yes' is not accepted"):
        load_run(RUN)
    run = load_run(RUN, ["train.checkpoint_every=010"])
    assert (run.train.tokens, run.train.warmup_steps, run.train.checkpoint_every) == (100_000, 10, 10)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.tokens=20:00:00", "'20:00:00' is not accepted"),
        ("train.checkpoint_every=true", "True is not accepted"),
        ("train.learning_rate=on", "'on' is not accepted"),
        ("train.learning_rate=true", "True is not accepted"),
        ("data.mask_documents=yes", "'yes' is not accepted: write true or false"),
        ("data.mask_documents=1", "1 is not accepted: write true or false"),
        ("train.tokens='1000'", "'1000' is not accepted"),
        ("train.branches=[no]", "'no' is not accepted"),
        ("train={tokens: 1, tokens: 2}", "the key 'tokens' is given twice"),
    ],
)
def test_anything_else_is_refused_in_one_line(override: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as error:
        load_run(RUN, ["train.checkpoint_every=10", override])
    assert len(str(error.value).splitlines()) == 1

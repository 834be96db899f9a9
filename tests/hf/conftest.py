"""The tiny run that is trained here."""

from tests.train.conftest import corpus, make_run

__all__ = ["corpus", "make_run"]

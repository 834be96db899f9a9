"""`prepared:DIR`: a corpus that `scaling data prepare` has tokenised."""

import os
from functools import cached_property
from pathlib import Path

from scaling.config.data import DataConfig
from scaling.data.sources.interface import Part, Sample
from scaling.data.store.folder import finished_manifest
from scaling.data.store.manifest import Manifest
from scaling.runtime.errors import BadInputError


def open_prepared(rest: str, config: DataConfig) -> "PreparedSource":
    """`prepared:DIR`. Raises BadInputError if nothing is prepared there, or shards are missing."""
    source = PreparedSource(Path(os.path.expanduser(rest)))
    source.manifest  # noqa: B018 (read now, so that a missing corpus is reported here)
    return source


class PreparedSource:
    """A folder of shards. It is opened as it is (`scaling.data.store.open_store`) and has no texts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def manifest(self) -> Manifest:
        """What is in the folder. Raises BadInputError if it is not complete."""
        return finished_manifest(self.folder)

    @property
    def identity(self) -> str:
        """Names the texts and the tokenizer."""
        return f"prepared:{self.manifest.fingerprint}"

    def parts(self, target_bytes: int = 64 << 20) -> list[Part]:
        """None: raises BadInputError."""
        raise BadInputError(
            f"data.source=prepared:{self.folder} is tokenised already; give the source that it was prepared "
            f"from ({self.manifest.source})"
        )

    def sample(self, most: int = 1 << 20) -> Sample:
        """The counts of the manifest."""
        manifest = self.manifest
        return Sample([], manifest.documents, manifest.text_bytes, manifest.tokens - manifest.documents)

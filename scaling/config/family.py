"""What a model family states about itself, and the types that the configs of all families share."""

from typing import ClassVar, Literal

from scaling.config.base import Frozen

DType = Literal["float32", "bfloat16"]
Remat = Literal["none", "dots", "full"]
Parametrization = Literal["standard", "mup"]


class FamilyConfig(Frozen):
    """The base of every model config. Code that differs by family reads these facts, not the family's name.

    Subclasses also have the fields `family`, `name`, `vocab_size`, `max_length`, `dropout`, `param_dtype` and
    `compute_dtype`.
    """

    objectives: ClassVar[tuple[str, ...]]
    """Objectives that train the family, the default first."""
    two_sided: ClassVar[bool] = False
    """Whether an example has a source and a target."""
    bidirectional: ClassVar[bool] = False
    """Whether an output predicts the token at its own position, from both sides."""
    generates: ClassVar[bool] = False
    """Whether `scaling generate` can write text with it."""
    splits_sequences: ClassVar[bool] = False
    """Whether the mesh axis `context` can split its sequences."""

    @property
    def has_vocabulary_head(self) -> bool:
        """Whether it gives logits."""
        return True

    @property
    def most_positions(self) -> int | None:
        """The longest sequence that it can score; None for any length."""
        return int(getattr(self, "max_length"))  # noqa: B009 (a field of every subclass)

    @property
    def width_ratio(self) -> float:
        """Width over the width of the base, m of muP; 1 for a standard model."""
        return 1.0

    @property
    def experts(self) -> int | None:
        """Experts of a mixture; None for a dense model."""
        return None

    @property
    def stacks(self) -> dict[str, int] | None:
        """The field that counts the layers of each stack, and the count; None if stages cannot split it."""
        return None

    @property
    def layer_period(self) -> int:
        """Layers after which the kinds of layers repeat."""
        return 1

"""A laboratory for scaling language models: what it costs, how it trains, which law it obeys.

    import scaling

    scaling.estimate("gpt3-13b", on="h100-sxm:64", tokens=300e9)
    scaling.fit("runs/mine", predict={"params": 7e9, "tokens": 1e12})

Each function takes what the command of the same name takes, and returns a result that shows itself in a
notebook, with `to_dict()`, and `to_frame()` where it is a table. Functions are imported on first use: `import
scaling` imports neither JAX nor NumPy.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling.api.costs import dryrun, estimate, models
    from scaling.api.figures import plot, report
    from scaling.api.laws import emergence, fit, read
    from scaling.api.plans import plan
    from scaling.api.runs import check_mup, demo, launch, status, sweep, train
    from scaling.api.weights import evaluate, export_hf, generate, import_hf, score
    from scaling.runtime.errors import BadInputError

__version__ = "0.1.0"

__all__ = [
    "BadInputError",
    "check_mup",
    "demo",
    "dryrun",
    "emergence",
    "estimate",
    "evaluate",
    "export_hf",
    "fit",
    "generate",
    "import_hf",
    "launch",
    "models",
    "plan",
    "plot",
    "read",
    "report",
    "score",
    "status",
    "sweep",
    "train",
]

_MODULES = {
    "BadInputError": "runtime.errors",
    **dict.fromkeys(("dryrun", "estimate", "models"), "api.costs"),
    **dict.fromkeys(("plot", "report"), "api.figures"),
    **dict.fromkeys(("emergence", "fit", "read"), "api.laws"),
    "plan": "api.plans",
    **dict.fromkeys(("check_mup", "demo", "launch", "status", "sweep", "train"), "api.runs"),
    **dict.fromkeys(("evaluate", "export_hf", "generate", "import_hf", "score"), "api.weights"),
}
_ROOMS = ("estimate", "launch", "models", "sweep", "train")  # subpackages of the same name


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"scaling.{name}")
    if name in _MODULES:
        return _function(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _function(name: str) -> Any:
    return getattr(import_module(f"scaling.{_MODULES[name]}"), name)


class _Room(ModuleType):
    """A subpackage that shares its name with a function of the API, and calls it when it is called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _function(self.__name__.rpartition(".")[2])(*arguments, **options)

    @property
    def __wrapped__(self) -> Any:  # so that `inspect.signature` is that of the function
        return _function(self.__name__.rpartition(".")[2])

    @property
    def __doc__(self) -> Any:
        return _function(self.__name__.rpartition(".")[2]).__doc__


class _Package(ModuleType):
    """`scaling`. Python binds an imported subpackage as an attribute, over a function of the same name: here
    both can be meant, so the subpackage is made callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

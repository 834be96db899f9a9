"""A laboratory for scaling language models: what it costs, how it trains, which law it obeys.

    import scaling

    scaling.estimate("gpt3-13b", on="h100-sxm:64", tokens=300e9)
    scaling.fit("runs/mine", predict={"params": 7e9, "tokens": 1e12})

Each function takes what the command of the same name takes, and returns a result that shows itself in a
notebook, with `to_dict()`, and `to_frame()` where it is a table. Functions are imported on first use: `import
scaling` imports neither JAX nor NumPy. Their types are in `__init__.pyi`.
"""

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import Any as _Any

__version__ = "0.1.0"

_MODULES = {
    "BadInputError": "runtime.errors",
    **dict.fromkeys(("dryrun", "estimate", "models"), "api.costs"),
    "demo": "api.demo",
    "evaluate": "api.evaluations",
    **dict.fromkeys(("plot", "report"), "api.figures"),
    "launch": "api.launch",
    "emergence": "api.emergence",
    "fit": "api.laws",
    "plan": "api.plans",
    "read": "api.points",
    **dict.fromkeys(("check_mup", "status", "sweep", "train"), "api.runs"),
    **dict.fromkeys(("export_hf", "generate", "import_hf", "score"), "api.weights"),
}
_PACKAGES = ("estimate", "launch", "models", "sweep", "train")  # subpackages with the name of a function

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> _Any:
    if name in _PACKAGES:
        return _import_module(f"scaling.{name}")
    if name in _MODULES:
        return _function(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _function(name: str) -> _Any:
    return getattr(_import_module(f"scaling.{_MODULES[name]}"), name)


class _CallablePackage(_ModuleType):
    """A subpackage with the name of a function of the API, such as `scaling.train`: calling it calls the
    function, and editors show the function's signature and docstring."""

    def __call__(self, *arguments: _Any, **options: _Any) -> _Any:
        return self.__wrapped__(*arguments, **options)

    @property
    def __wrapped__(self) -> _Any:
        return _function(self.__name__.rpartition(".")[2])

    @property
    def __doc__(self) -> _Any:
        return self.__wrapped__.__doc__


class _Package(_ModuleType):
    """`scaling`. Python binds an imported subpackage as an attribute, in place of a function of that name, so
    such a subpackage is made callable."""

    def __setattr__(self, name: str, value: _Any) -> None:
        if name in _PACKAGES and isinstance(value, _ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package

"""What the source may not hold: code out of data, or a shell. Read from the syntax tree, not from words."""

import ast
from pathlib import Path

import pytest

import scaling

PACKAGE = Path(scaling.__file__).parent
ROOT = PACKAGE.parent
FILES = [
    *sorted(PACKAGE.rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    *sorted((ROOT / "launch").rglob("*.py")),
]
# Modules that run what a file says, and calls that do.
UNPICKLE = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNSAFE_YAML = {"unsafe_load", "full_load", "unsafe_load_all", "full_load_all", "Loader", "UnsafeLoader",
               "FullLoader", "CLoader", "CFullLoader", "CUnsafeLoader"}  # fmt: skip
SHELLS = {"system", "popen", "getoutput", "getstatusoutput"}


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def attribute(call: ast.Call) -> tuple[str, str]:
    """(`yaml`, `load`) of `yaml.load(...)`; ("", name) of a plain name."""
    function = call.func
    if isinstance(function, ast.Attribute):
        owner = function.value
        return (owner.id if isinstance(owner, ast.Name) else "?"), function.attr
    return "", function.id if isinstance(function, ast.Name) else "?"


def wrong(text: str) -> list[str]:
    """What a source file does that none may."""
    found: list[str] = []
    tree = ast.parse(text)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [f"import {name}" for name in names if UNPICKLE & set(name.split("."))]
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            owner = node.value if isinstance(node, ast.Attribute) else None
            if name in UNSAFE_YAML and isinstance(owner, ast.Name) and owner.id == "yaml":
                found.append(f"yaml.{name}")
    for call in calls(tree):
        owner, name = attribute(call)
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        said = {key: value.value for key, value in keywords.items() if isinstance(value, ast.Constant)}
        if owner == "" and name in RUNS_CODE:
            found.append(f"{name}()")
        if (owner == "os" and name in SHELLS | {"popen"}) or (owner == "subprocess" and name in SHELLS):
            found.append(f"{owner}.{name}()")
        if "shell" in keywords and said.get("shell", True) is not False:
            found.append("shell=")
        if owner in ("np", "numpy") and name == "load" and said.get("allow_pickle") is not False:
            found.append("np.load without allow_pickle=False")
        if said.get("allow_pickle") is True:
            found.append("allow_pickle=True")
        if owner == "torch" and name == "load":
            found.append("torch.load()")
        if owner == "yaml" and name in ("load", "load_all") and "Loader" not in keywords:
            found.append("yaml.load without a Loader")
    return found


def test_no_source_runs_what_data_says() -> None:
    assert len(FILES) > 250
    assert not {str(path.relative_to(ROOT)): found for path in FILES if (found := wrong(path.read_text()))}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import joblib.memory", "from six.moves import cPickle",
        "eval('1')", "exec(x)", "__import__('os')", "os.system('ls')", "os.popen('ls')",
        "subprocess.run('ls', shell=True)", "subprocess.run('ls', shell=flag)", "subprocess.getoutput('ls')",
        "np.load(path)", "np.load(path, allow_pickle=True)", "numpy.load(p, allow_pickle=flag)",
        "torch.load(path)", "yaml.load(text)", "yaml.unsafe_load(text)", "yaml.load(x, Loader=yaml.Loader)",
        "yaml.load(x, Loader=yaml.FullLoader)",
    ],
)  # fmt: skip
def test_the_check_finds_what_it_is_for(text: str) -> None:
    assert wrong(text)


def test_yaml_is_read_by_a_safe_loader() -> None:
    import yaml

    from scaling.runtime import yaml_files

    safe = (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert issubclass(yaml_files._Loader, safe)
    known = {tag for tag in yaml_files._Loader.yaml_constructors if tag is not None}
    assert not [tag for tag in known if "python" in tag]

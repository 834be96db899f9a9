"""What the README and docs/ name exists: links, anchors, images, paths, commands, targets, config fields."""

import re
from pathlib import Path

import pytest
import typer

from scaling.cli import app
from tests.docs.pages import DOCS, ROOT, Page, commands, generated, pages, reference

PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.path.relative_to(ROOT)))
PROGRAM = typer.main.get_command(app)
TOP = ("benchmarks", "configs", "docs", "examples", "launch", "scaling", "tests")  # folders of the repository
HISTORY = ("CHANGELOG.md", "log.md")  # names of their time


def _anchors(path: Path) -> tuple[set[str], set[str]]:
    if path in generated():
        site = Page(path, generated()[path]).anchors()[1]
        return site, site
    return Page(path, path.read_text()).anchors()


@PAGES
def test_links_and_images_resolve(page: Page) -> None:
    """Relative targets exist, and their anchors on GitHub and on the site."""
    for target, text in page.links():
        if re.match(r"^(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        assert path.exists() or path in generated(), f"[{text}]({target}): no such file"
        if anchor:
            on_github, on_site = _anchors(path)
            assert anchor in on_github and anchor in on_site, f"[{text}]({target}): no such heading"


@PAGES
def test_paths_in_code_exist(page: Page) -> None:
    """`scaling/...`, `tests/x.py::test_y` and the like, in text and in commands."""
    if page.path.name in HISTORY:
        return
    words = [word for span in page.spans() for word in span.split()]
    words += [word for command in page.shell() if command[0] in ("pytest", "python") for word in command]
    for word in words:
        name, _, test = word.strip("'\",;()").partition("::")
        if name.split("/")[0] not in TOP or "/" not in name or re.search(r"[*{}<>]", name):
            continue
        path = ROOT / name
        assert path.exists(), f"{word}: no such file"
        if test:
            assert re.search(rf"^(async )?def {test}\b", path.read_text(), re.MULTILINE), (
                f"{word}: no such test"
            )


def _parse(words: list[str], complete: bool) -> None:
    """Raise click's own error where a command line of `scaling` does not parse."""
    command, path = PROGRAM, []
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words[0]]
        path.append(words.pop(0))
    if hasattr(command, "commands"):
        assert not words or words[0].startswith("-") or not complete, f"no such command: {' '.join(words)}"
        return
    context = command.context_class(command, info_name=" ".join(path))
    given, _, _ = command.make_parser(context).parse_args(list(words))
    for parameter in command.params:
        value = given.get(parameter.name)
        missing = value is None or value == () or "UNSET" in repr(value)
        if complete:
            assert not (parameter.required and missing), (
                f"scaling {' '.join(path)}: {parameter.name} is required"
            )
        kind = getattr(parameter, "type_descriptor", None)
        if kind is not None and kind.annotation in (int, float) and isinstance(value, str):
            kind.annotation(value)


@PAGES
def test_commands_parse(page: Page) -> None:
    """`scaling ...` in a shell block is complete; in text, its command and options exist."""
    if page.path.name in HISTORY:
        return
    for words in page.shell():
        if words[0] == "scaling":
            _parse(words[1:], complete=True)
    for span in page.spans():
        if re.match(r"^scaling [a-z]", span) and "..." not in span:
            for words in commands(span):
                if words[0] == "scaling":
                    _parse(words[1:], complete=False)


@PAGES
def test_make_targets_exist(page: Page) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [words[1] for words in page.shell() if words[0] == "make"]
    named += [span.split()[1] for span in page.spans() if re.match(r"^make [\w-]+", span)]
    for target in named:
        assert target in targets, f"make {target}: no such target"


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1000
    assert "\nmake test " in text  # what continuous integration runs


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    there = {str(path.relative_to(DOCS)) for path in [*DOCS.rglob("*.md"), *generated()]}
    assert named == there


def test_every_config_field_says_what_it_is() -> None:
    """The reference has a page for each root config, and no field without a description or a type."""
    made = reference().pages()
    for name in reference().INTRODUCTIONS:
        rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", made[f"reference/{name}"], re.MULTILINE)
        assert len(rows) > 20
        for field, kind, default, meaning in rows:
            assert kind not in ("", "anything") and default and meaning, field


def test_every_command_is_in_the_reference() -> None:
    page = reference().pages()["reference/commands.md"]
    for path, command in reference()._commands(PROGRAM, ()):
        assert f"## scaling {' '.join(path)}\n" in page
        for parameter in command.params:
            if parameter.param_type_name == "option" and "--help" not in parameter.opts:
                assert f"`{parameter.opts[0]}`" in page and parameter.help


def test_bad_commands_are_found() -> None:
    """The checks above can fail."""
    with pytest.raises(Exception, match="--nope"):
        _parse(["fit", "a.csv", "--nope", "1"], complete=True)
    with pytest.raises(AssertionError, match="source is required"):
        _parse(["fit", "--law", "chinchilla"], complete=True)
    with pytest.raises(AssertionError, match="no such command"):
        _parse(["fitt", "a.csv"], complete=True)
    assert list(commands("A=1 scaling fit a.csv && scaling plot law a.csv --out 'x y.png'  # why")) == [
        ["scaling", "fit", "a.csv"],
        ["scaling", "plot", "law", "a.csv", "--out", "x y.png"],
    ]

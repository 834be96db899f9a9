"""The README and the pages of docs/, read as Markdown: links, code and headings."""

import functools
import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


@functools.cache
def reference() -> ModuleType:
    """The generator of the reference pages."""
    spec = importlib.util.spec_from_file_location("docs_reference", DOCS / "_site" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def generated() -> dict[Path, str]:
    """Pages that exist only in the built site, where they would lie in docs/."""
    return {DOCS / name: text for name, text in reference().pages().items()}


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    text: str

    @property
    def prose(self) -> str:
        """The text without fenced code."""
        return _FENCE.sub("", self.text)

    def links(self) -> Iterator[tuple[str, str]]:
        """Target and text of every link and image."""
        for image, text, target in _LINK.findall(re.sub(r"(?<!`)`[^`\n]+`", "`code`", self.prose)):
            yield target, image + text

    def anchors(self) -> tuple[set[str], set[str]]:
        """Anchors of the headings: GitHub's, and those of the built site."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        plain = [
            re.sub(r"[^\w\s-]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", one)).strip().lower()
            for one in headings
        ]
        return {re.sub(r"\s", "-", one) for one in plain}, {re.sub(r"[-\s]+", "-", one) for one in plain}

    def spans(self) -> list[str]:
        """Inline code."""
        return _SPAN.findall(self.prose)

    def shell(self) -> Iterator[list[str]]:
        """The words of every command in a block of shell code: blocks without a language."""
        for language, body in _FENCE.findall(self.text):
            if language == "":
                for line in body.replace("\\\n", " ").splitlines():
                    yield from commands(line)


def commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line of shell, without variables that are set before it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set(";|&"):
            while words and re.match(r"^[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
        else:
            words.append(word)


@functools.cache
def pages() -> tuple[Page, ...]:
    """README, the other files of the root, and every page below docs/."""
    files = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
    return tuple(Page(path, path.read_text()) for path in files)

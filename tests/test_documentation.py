"""Public names are documented, docstrings name what signatures name, and the README runs."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import discoverers
import gpu_solver

ROOT = Path(__file__).resolve().parents[1]


def _modules():
    for package in (discoverers, gpu_solver):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(part.startswith("_") for part in found.name.split(".")):
                yield found.name


MODULES = sorted(_modules())


def _public_objects():
    """Find classes and functions without an underscore where they are defined."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module_name:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{module_name}.{name}", value


OBJECTS = dict(_public_objects())


def _methods():
    for path, value in OBJECTS.items():
        if not inspect.isclass(value):
            continue
        for name, member in vars(value).items():
            function = member.fget if isinstance(member, property) else member
            function = getattr(function, "__func__", function)
            if not name.startswith("_") and inspect.isfunction(function):
                yield f"{path}.{name}", function


METHODS = dict(_methods())


def sections(docstring):
    """Split a numpydoc docstring into its sections, by title."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    found, title = {}, ""
    for line, below in zip(lines, [*lines[1:], ""], strict=False):
        if line and below and set(below) == {"-"} and len(below) >= 3 and line[0] != " ":
            title = line
            found[title] = []
        elif title and not (line and set(line) == {"-"}):
            found[title].append(line)
    return found


def documented_names(section):
    """List the names before the colons of a section; ``a, b : int`` names two."""
    names = []
    for line in section:
        entry = [name.strip().lstrip("*") for name in line.split(" : ")[0].split(",")]
        if line[:1].strip() and all(name.isidentifier() for name in entry):
            names += entry
    return names


def parameters(function):
    """List the names that a caller may pass."""
    return [
        name
        for name in inspect.signature(function).parameters
        if name not in ("self", "cls") and not name.startswith("_")
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module):
    assert (importlib.import_module(module).__doc__ or "").strip()


@pytest.mark.parametrize("path", OBJECTS)
def test_every_public_object_is_documented(path):
    assert (OBJECTS[path].__doc__ or "").strip()
    if dataclasses.is_dataclass(OBJECTS[path]):
        # A dataclass without a docstring gets its signature for one.
        assert not OBJECTS[path].__doc__.startswith(f"{OBJECTS[path].__name__}(")


@pytest.mark.parametrize("path", METHODS)
def test_every_public_method_is_documented(path):
    function = METHODS[path]
    owner_path, _, name = path.rpartition(".")
    inherited = [getattr(base, name, None) for base in OBJECTS[owner_path].__mro__[1:]]
    texts = [function.__doc__, *(getattr(member, "__doc__", None) for member in inherited)]
    assert any(texts), f"{path} has no docstring"


WITH_PARAMETERS = {
    path: value
    for path, value in (OBJECTS | METHODS).items()
    # A base class without a constructor documents the parameters that its subclasses share.
    if "Parameters" in sections(value.__doc__)
    and getattr(value, "__init__", None) is not object.__init__
}


@pytest.mark.parametrize("path", WITH_PARAMETERS)
def test_documented_parameters_are_those_of_the_signature(path):
    value = WITH_PARAMETERS[path]
    documented = documented_names(sections(value.__doc__)["Parameters"])
    assert sorted(documented) == sorted(parameters(value))


@pytest.mark.parametrize("name", [n for n in discoverers.__all__ if n != "__version__"])
def test_what_the_package_exports_documents_its_parameters(name):
    value = getattr(discoverers, name)
    if inspect.isclass(value) and issubclass(value, BaseException):
        assert value.__doc__
        return
    found = sections(value.__doc__)
    takes = parameters(value)
    if takes:
        title = "Parameters" if "Parameters" in found else "Attributes"
        assert set(takes) <= set(documented_names(found.get(title, [])))


def readme_blocks(language):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readmes_python_runs(tmp_path):
    blocks = readme_blocks("python")
    assert blocks
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "x' = " in done.stdout


def test_the_readme_holds_the_two_commands_of_the_continuous_integration():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("quickstart", "tests"):
        found = re.findall(rf"^<!-- ci: {name} -->\n```bash\n(.*)\n```$", text, flags=re.MULTILINE)
        assert len(found) == 1, f"one command, on one line, is to follow <!-- ci: {name} -->"


def test_the_readmes_links_and_pictures_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_every_example_explains_itself(script):
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--out" in done.stdout

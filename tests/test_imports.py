"""Who may import whom: the architecture, read from the source of every file and enforced.

The core is pure functions on jax and numpy; Flax, TFDS, Orbax, absl and matplotlib are each met in exactly one place;
what is slow to import is imported inside functions.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

CORE = (
    "errors",
    "types",
    "states",
    "traced",
    "randomness",
    "gaussian",
    "given",
    "likelihoods",
    "priors",
    "posteriors",
    "schedules",
    "weighting",
    "conventions",
    "linear_vae",
    "objective",
    "estimators",
)
# Room -> the other rooms whose files it may import. Every room may import the core, but for those in ONLY_TYPES.
ROOMS = {
    "theory": (),
    "models": (),
    "devices": (),
    "data": ("devices",),
    "train": ("theory",),
    "evaluation": ("theory",),
    "runtime": ("devices",),
    "report": ("runtime",),
    "runs": ("theory", "models", "devices", "data", "train", "evaluation", "runtime", "report"),
    "trained": ("runs", "models", "data", "evaluation", "runtime", "report"),
}
# Rooms that know nothing of VAEs: of the core they import what an error is.
ONLY_TYPES = ("runtime", "report")
CORE_MAY_USE = ("jax", "numpy", "optax.schedules")
# Each of these is imported by one part of the library only.
OWNER = {
    "flax": "models",
    "tensorflow_datasets": "data",
    "tensorflow": "data",
    "grain": "data",
    "sklearn.datasets": "data",
    "orbax": "runtime",
    "absl": "runtime",
    "matplotlib": "report",
    "fcntl": "runtime.lock",
    "fsspec": "runtime",
    "safetensors": "runtime",
}
HEAVY = ("tensorflow", "tensorflow_datasets", "grain", "sklearn", "matplotlib", "PIL", "orbax", "tensorboardX")


class Import(NamedTuple):
    """One imported name, in full: ``from a.b import c`` is ``a.b.c``."""

    name: str
    line: int
    at_import_time: bool


def _is_type_checking(node) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(module: str, source: str, is_package: bool) -> list[Import]:
    """All imports of a module, those inside functions too, in full dotted names."""
    found = []

    def visit(node, top):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, child.lineno, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parents = module.split(".")[
                        : None if is_package and child.level == 1 else -child.level + is_package
                    ]
                    base = ".".join([*parents, *([base] if base else [])])
                found.extend(Import(f"{base}.{alias.name}", child.lineno, top) for alias in child.names)
            elif _is_type_checking(child):
                for statement in child.orelse:
                    visit(ast.Module([statement], []), top)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                visit(child, top and not inside)

    visit(ast.parse(source), True)
    return found


def under(name: str, *prefixes: str) -> bool:
    """Whether a dotted name is one of ``prefixes`` or inside it."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def private_jax(source: str) -> list[int]:
    """The lines that reach into private parts of jax."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)] if isinstance(node.value, ast.Name | ast.Attribute) else []
        else:
            continue
        if any(under(name, "jax") and any(part.startswith("_") for part in name.split(".")) for name in names):
            lines.append(node.lineno)
    return lines


def cycles_of(graph: dict[str, set[str]]) -> list[str]:
    """Each cycle of a directed graph once, as a line."""
    found, done = [], set()

    def walk(node, path):
        if node in path:
            found.append(" -> ".join([*path[path.index(node) :], node]))
        elif node not in done:
            for target in sorted(graph.get(node, ())):
                walk(target, [*path, node])
            done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def import_graph(imports: dict[str, list[Import]]) -> dict[str, set[str]]:
    """Which module's execution needs which other's, at import time, within the library."""
    graph = {}
    for module, names in imports.items():
        graph[module] = set()
        for name, _, at_import_time in names:
            # The longest part of a.b.c that is a module, and the packages on the way to it, which run before it;
            # not those that this module is itself part of: they are running already.
            target = name
            while target and target not in imports:
                target = target.rpartition(".")[0]
            if not (at_import_time and target):
                continue
            parts = target.split(".")
            packages = {".".join(parts[:n]) for n in range(1, len(parts))}
            graph[module] |= {target} | {p for p in packages if not under(module, p)}
    return graph


def violations(sources: dict[str, str], packages: frozenset[str] = frozenset()) -> list[str]:
    """What breaks the rules, a line each.

    Args:
      sources: module name -> source, of ``vae_jax`` and ``experiments``.
      packages: the names among them that are packages (``__init__.py``).
    """
    found = []
    imports = {name: imports_of(name, source, name in packages) for name, source in sources.items()}
    for module, names in imports.items():
        library = under(module, "vae_jax")
        core = under(module, *(f"vae_jax.{part}" for part in CORE))
        for name, line, at_import_time in names:
            where = f"{module}:{line} imports {name}"
            if at_import_time and under(name, *HEAVY):
                found.append(f"{where} at the top: it is slow, import it inside the function that needs it")
            if not library:
                continue
            if under(name, "experiments"):
                found.append(f"{where}: the library never imports an experiment")
            for package, owner in OWNER.items():
                if under(name, package) and not under(module, f"vae_jax.{owner}"):
                    found.append(f"{where}: only vae_jax.{owner} may")
            if core and under(name, "vae_jax") and not under(name, *(f"vae_jax.{part}" for part in CORE)):
                found.append(f"{where}: the core imports the core only")
            foreign = not under(name, "vae_jax") and name.split(".")[0] not in sys.stdlib_module_names
            if core and foreign and not under(name, *CORE_MAY_USE):
                found.append(f"{where}: the core imports {', '.join(CORE_MAY_USE)} only")
            found.extend(f"{where}: {wrong}" for wrong in _wall(module, name))
            if at_import_time and under(name, "flax") and module == "vae_jax.models":
                found.append(f"{where} at the top: choosing a model must not import Flax")
        found.extend(f"{module}:{line} uses a private part of jax" for line in private_jax(sources[module]))
    return found + [f"import cycle: {cycle}" for cycle in cycles_of(import_graph(imports))]


def _wall(module: str, name: str) -> list[str]:
    """What is wrong with an import from one room of the house in another, as the ends of sentences."""
    room, other = ((*full.split("."), "", "")[1] for full in (module, name))
    if not under(name, "vae_jax") or room not in ROOMS or other == room:
        return []
    if other in CORE:
        wrong = room in ONLY_TYPES and other not in ("errors", "types")
        return [f"{room} knows nothing of VAEs; of the core it imports vae_jax.types only"] if wrong else []
    if other in ROOMS and other not in ROOMS[room]:
        return [f"{room} imports {', '.join(('the core', *ROOMS[room]))} only"]
    return []


def project() -> tuple[dict[str, str], frozenset[str]]:
    """The sources of the library and the experiments, by module name."""
    sources, packages = {}, set()
    for top in ("vae_jax", "experiments"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
                packages.add(".".join(parts))
            sources[".".join(parts)] = path.read_text(encoding="utf-8")
    return sources, frozenset(packages)


# ---------------------------------------------------------------- the project


def test_the_project_keeps_the_rules():
    sources, packages = project()
    assert {f"vae_jax.{part}" for part in CORE} <= set(sources)
    assert violations(sources, packages) == []


def test_tests_and_scripts_use_public_jax_only():
    for folder in ("tests", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            assert private_jax(path.read_text(encoding="utf-8")) == [], path.name


def test_importing_the_library_loads_nothing_slow():
    """Every module but the networks themselves, in a fresh interpreter: what top-level imports really pull in."""
    names = [name for name in project()[0] if under(name, "vae_jax") and not name.startswith("vae_jax.models.")]
    program = (
        f"import sys\nfor name in {names!r}: __import__(name)\n"
        f"print([name for name in {[*HEAVY, 'flax']!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- the checks themselves

CLEAN = {
    "vae_jax": "from vae_jax import objective\nfrom vae_jax.types import VAE",
    "vae_jax.types": "from __future__ import annotations\nimport jax\nfrom vae_jax.gaussian import DiagGaussian",
    "vae_jax.gaussian": "import math\nimport jax.numpy as jnp\nimport numpy as np",
    "vae_jax.objective": "from vae_jax.types import VAE\nimport jax",
    "vae_jax.schedules": "from optax.schedules import join_schedules\nfrom vae_jax.types import Schedule",
    "vae_jax.models": "def mlp():\n    from vae_jax.models.network import Net\n",
    "vae_jax.models.network": "import flax.linen as nn",
    "vae_jax.data": "def load():\n    import tensorflow_datasets\n    from sklearn.datasets import load_digits\n",
    "vae_jax.runtime": "",
    "vae_jax.runtime.checkpoint": "def save():\n    import orbax.checkpoint as ocp\n",
    "vae_jax.runtime.config": "from absl import flags",
    "vae_jax.report": "from vae_jax.report.style import draw",
    "vae_jax.report.style": "def draw():\n    import matplotlib.pyplot as plt\n",
    "vae_jax.train": "import optax\nfrom vae_jax import objective",
    "experiments": "",
    "experiments.train": "from absl import app\nfrom vae_jax import train, models",
}
PACKAGES = frozenset({"vae_jax", "vae_jax.runtime", "vae_jax.models", "vae_jax.data", "vae_jax.report", "experiments"})


def test_the_rules_accept_the_design():
    assert violations(CLEAN, PACKAGES) == []


@pytest.mark.parametrize(
    ("module", "line", "expected"),
    [
        ("vae_jax.objective", "import flax", "only vae_jax.models may"),
        ("vae_jax.train", "def f():\n    from flax import linen", "only vae_jax.models may"),
        ("vae_jax.models", "import flax.linen as nn", "must not import Flax"),
        ("vae_jax.train", "def f():\n    import tensorflow_datasets", "only vae_jax.data may"),
        ("vae_jax.train", "def f():\n    from sklearn import datasets", "only vae_jax.data may"),
        ("vae_jax.train", "def f():\n    import grain.python as grain", "only vae_jax.data may"),
        ("vae_jax.train", "def f():\n    import orbax.checkpoint", "only vae_jax.runtime may"),
        ("vae_jax.train", "from absl import logging", "only vae_jax.runtime may"),
        ("vae_jax.train", "def f():\n    import matplotlib", "only vae_jax.report may"),
        ("vae_jax.train", "def f():\n    import fsspec", "only vae_jax.runtime may"),
        ("vae_jax.runtime.checkpoint", "import fcntl", "only vae_jax.runtime.lock may"),
        ("vae_jax.report.style", "import matplotlib.pyplot as plt", "at the top"),
        ("vae_jax.data", "from sklearn.datasets import load_digits", "at the top"),
        ("vae_jax.data", "try:\n    import PIL\nexcept ImportError:\n    pass", "at the top"),
        ("experiments.train", "import tensorflow_datasets", "at the top"),
        ("vae_jax.gaussian", "import optax", "the core imports jax"),
        ("vae_jax.gaussian", "from optax import adam", "the core imports jax"),
        ("vae_jax.gaussian", "def f():\n    import scipy", "the core imports jax"),
        ("vae_jax.likelihoods.beta", "import scipy.special", "the core imports jax"),
        ("vae_jax.objective", "from vae_jax import train", "the core imports the core only"),
        ("vae_jax.objective", "def f():\n    from vae_jax.data import load", "the core imports the core only"),
        ("vae_jax.objective", "from . import train", "the core imports the core only"),
        ("vae_jax.train", "def f():\n    import experiments.train", "never imports an experiment"),
        ("vae_jax.report.style", "def f():\n    from vae_jax import models", "report imports the core, runtime only"),
        ("vae_jax.report", "from ..train import fit", "report imports the core, runtime only"),
        ("vae_jax.data", "from vae_jax.train import fit", "data imports the core, devices only"),
        ("vae_jax.train", "def f():\n    from vae_jax.runs import settings", "train imports the core, theory only"),
        ("vae_jax.runtime.config", "from vae_jax import objective", "knows nothing of VAEs"),
        ("vae_jax.train", "from jax._src import core", "private"),
        ("vae_jax.train", "import jax\nx = jax._src.core.Tracer", "private"),
        (
            "vae_jax.gaussian",
            "from vae_jax.types import VAE",
            "cycle: vae_jax.types -> vae_jax.gaussian -> vae_jax.types",
        ),
        ("vae_jax.objective", "from vae_jax import VAE", "cycle: vae_jax -> vae_jax.objective"),
        ("vae_jax.report.style", "from vae_jax.report import draw", "cycle: vae_jax.report -> vae_jax.report.style"),
    ],
)
def test_a_planted_violation_is_caught(module, line, expected):
    planted = {**CLEAN, module: CLEAN.get(module, "") + "\n" + line}
    assert any(expected in found for found in violations(planted, PACKAGES))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vae_jax.gaussian", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vae_jax.types import VAE"),
        ("vae_jax.gaussian", "def f():\n    from vae_jax.types import VAE"),
        ("vae_jax.gaussian", "from optax import schedules"),
        ("vae_jax.report.style", "from vae_jax.report import page"),
        ("vae_jax.report.style", "from . import page"),
        ("vae_jax.train", "class A:\n    def f(self):\n        import sklearn.svm"),
        ("vae_jax.gaussian", "x = jax.nn\ny = self._private"),
    ],
)
def test_what_is_allowed_is_not_flagged(module, line):
    allowed = {**CLEAN, "vae_jax.report.page": "", module: CLEAN[module] + "\n" + line}
    assert violations(allowed, PACKAGES) == []

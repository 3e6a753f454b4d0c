"""The console script: ``vae-jax NAME [flags]`` runs the binary NAME of the folder ``experiments``.

Installed, that folder is the package ``vae_jax.experiments``; in a clone it stands beside this package. A binary is
found by its name, so nothing here imports one.
"""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import runpy
import sys
from pathlib import Path

from vae_jax.runtime.config import print_help


def main() -> None:
    """Runs the binary that the command line names, or lists them all."""
    package = _package()
    names = {module.name: module for module in pkgutil.iter_modules([str(package[1])])}
    names = {name: _first_line(package[1], name) for name in names if name != "papers"}
    papers = [f"papers.{module.name}" for module in pkgutil.iter_modules([str(package[1] / "papers")])]
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        usage = "usage: vae-jax NAME [flags]; vae-jax NAME --help lists the flags\n"
        listed = [f"  {name:12s} {line}" for name, line in names.items()]
        print_help("\n".join([usage, *listed, *(f"  {paper}" for paper in papers if _is_binary(package[1], paper))]))
        return
    if name not in names and name not in papers:
        print(f"error: there is no {name}; vae-jax has {', '.join(names)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"vae-jax {name}", *sys.argv[2:]]
    runpy.run_module(f"{package[0]}.{name}", run_name="__main__", alter_sys=True)


def _package() -> tuple[str, Path]:
    """The name of the package of binaries, and its folder."""
    installed = importlib.util.find_spec("vae_jax.experiments")
    if installed is not None:
        return "vae_jax.experiments", Path(installed.submodule_search_locations[0])
    clone = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(clone))
    return "experiments", clone / "experiments"


def _source(folder: Path, name: str) -> str:
    path = folder.joinpath(*name.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return file.read_text(encoding="utf-8")


def _first_line(folder: Path, name: str) -> str:
    return (ast.get_docstring(ast.parse(_source(folder, name))) or "").split("\n")[0]


def _is_binary(folder: Path, name: str) -> bool:
    return '__name__ == "__main__"' in _source(folder, name)


if __name__ == "__main__":
    main()

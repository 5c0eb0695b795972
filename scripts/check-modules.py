"""Fails if the modules of a crate import one another in a circle.

Usage: check-modules.py [CRATE...]: folders with a `src`; by default, all of `crates/`.

An import is what a `use` names or a path that begins with `crate::`, `super::` or `self::`. Test modules in
a file do not count, and neither do re-exports: a name that a module re-exports belongs to the module that
defines it. Two graphs must be acyclic: that of the files, and that of the top-level modules, each with all
files in its folder.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATH = re.compile(r"\b(crate|super|self)((?:::\w+)+)")


def main():
    folders = [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "crates").iterdir())
    circles = []
    for folder in folders:
        source = folder / "src"
        if not source.is_dir():
            continue
        crate = Crate(source)
        files = crate.graph()
        tops = {}
        for module, imported in files.items():
            top = tops.setdefault(module[:1], set())
            top |= {other[:1] for other in imported} - {module[:1]}
        for graph in (files, tops):
            circle = find_circle(graph)
            if circle:
                circles.append(f"{folder.name}: " + " -> ".join("::".join(module) for module in circle))
                break
    for circle in circles:
        print(f"modules import one another in a circle: {circle}", file=sys.stderr)
    if circles:
        sys.exit(1)
    print("no modules import one another in a circle")


class Crate:
    def __init__(self, source):
        self.text = {}
        for path in sorted(source.rglob("*.rs")):
            parts = path.relative_to(source).with_suffix("").parts
            if parts[0] in ("bin", "main", "lib") or parts[-1] == "tests":
                continue
            module = parts[:-1] if parts[-1] == "mod" else parts
            self.text[module] = without_tests(path.read_text())
        self.reexports = {module: reexports(text) for module, text in self.text.items()}

    def graph(self):
        return {module: self.imports(module) for module in self.text}

    def imports(self, module):
        """The modules that this one imports from."""
        found = set()
        for path in paths(self.text[module]):
            target = self.resolve(module, path)
            if target is not None and target != module:
                found.add(target)
        return found

    def resolve(self, module, path):
        """The module that defines what a path names; `None` for the crate's root."""
        if path[0] == "crate":
            path = path[1:]
        elif path[0] == "self":
            path = module + path[1:]
        else:
            base = module
            while path and path[0] == "super":
                base, path = base[:-1], path[1:]
            path = base + path
        owner = path
        while owner and owner not in self.text:
            owner = owner[:-1]
        rest = path[len(owner):]
        if owner and rest and rest[0] in self.reexports[owner]:
            return self.resolve(owner, self.reexports[owner][rest[0]] + rest)
        return owner or None


def without_tests(text):
    """The text without comments and without what follows `#[cfg(test)]` on a module."""
    text = re.sub(r"//[^\n]*", "", text)
    return re.split(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*\{", text)[0]


def statements(text):
    return re.finditer(r"(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", text)


def reexports(text):
    """Name -> the path of the module that it comes from, for each `pub use` of a name of the crate."""
    found = {}
    for statement in statements(text):
        if not statement[1]:
            continue
        for path in expand(re.sub(r"\s+", "", statement[2].replace(" as ", "@"))):
            name = path[-1].split("@")[-1]
            head = path[0] if path[0] in ("crate", "super", "self") else None
            found[name] = tuple(path[:-1]) if head else ("self", *path[:-1])
    return found


def paths(text):
    """All paths within the crate that the text names, except re-exports."""
    for statement in statements(text):
        if statement[1]:
            continue
        for path in expand(re.sub(r"\s+as\s+\w+|\s+", "", statement[2])):
            if path[0] in ("crate", "super", "self"):
                yield tuple(part for part in path if part != "self" or part is path[0])
    rest = re.sub(r"(pub(?:\([^)]*\))?\s+)?use\s+[^;]+;", "", text)
    for path in PATH.finditer(rest):
        yield (path[1], *path[2].strip(":").split("::"))


def expand(tree):
    """`a::{b, c::d}` as its paths."""
    depth, start, parts = 0, 0, []
    for index, character in enumerate(tree + ","):
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            parts.append(tree[start:index])
            start = index + 1
    for part in filter(None, parts):
        if "{" not in part:
            yield part.split("::")
            continue
        head, inside = part.split("{", 1)
        for path in expand(inside[:-1]):
            yield [*head.strip(":").split("::"), *path] if head else path


def find_circle(graph):
    """The modules of a circle in order, ending with the first one again; `None` if there is none."""
    done, trail = set(), []

    def visit(module):
        if module in trail:
            return trail[trail.index(module):] + [module]
        if module in done:
            return None
        trail.append(module)
        for other in sorted(graph.get(module, ())):
            circle = visit(other)
            if circle:
                return circle
        trail.pop()
        done.add(module)
        return None

    return next(filter(None, map(visit, sorted(graph))), None)


if __name__ == "__main__":
    main()

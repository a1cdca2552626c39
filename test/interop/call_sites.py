#!/usr/bin/env python3
"""Reads in released wheels what SGLang passes to FlashInfer, and compares it with internal/reach/calls.json.

    call_sites.py TABLE RELEASES WHEELS...

TABLE is internal/reach/calls.json, RELEASES is internal/reach/apis.json (it pairs releases of SGLang, FlashInfer and sgl_kernel), WHEELS are
folders of wheels. Nothing is imported from a wheel: its files are parsed.

Of each entry of TABLE and each release in its range, the call site must exist, and pass the parameters that the table lists: the same
names, None where the table has "none", positions that the table has as positions, and parameters with a default that the table has as
such. Names of positions come from FlashInfer's signature. The texts that the element types were read from must be in their files.

Prints a line of counts a release and each difference. Exit status 1 on any difference, 2 where SGLang or FlashInfer of a release has no
wheel. A wheel of sgl_kernel (400 MB) may be missing: the sites in it are then counted as not checked.
"""
import ast
import json
import re
import sys
import zipfile
from functools import cache
from pathlib import Path


def number(release):
    return tuple(int(n) for n in re.match(r"(\d+)\.(\d+)\.(\d+)", release).groups())


class Package:
    """The source files of one wheel."""

    def __init__(self, wheel):
        self.zip = zipfile.ZipFile(wheel)
        self.names = set(self.zip.namelist())
        self.trees = {}
        self.texts = {}

    def text(self, path):
        if path not in self.texts:
            self.texts[path] = self.zip.read(path).decode(errors="replace") if path in self.names else None
        return self.texts[path]

    def tree(self, path):
        if path not in self.trees:
            text = self.text(path)
            self.trees[path] = None if text is None else annotate(ast.parse(text))
        return self.trees[path]

    @cache
    def definition(self, name, owner=""):
        """The definition of a function, or of a method of a class, that FlashInfer's logger is put on."""
        for path in sorted(self.names):
            text = self.text(path) if path.endswith(".py") and "/testing/" not in path else None
            if not text or f"def {name}(" not in text or (owner and f"class {owner}" not in text):
                continue
            found = [n for n in ast.walk(self.tree(path)) if isinstance(n, ast.FunctionDef) and n.name == name]
            found = [n for n in found if (n.owner == owner if owner else not n.owner)]
            decorated = [n for n in found if any("flashinfer_api" in ast.unparse(d) for d in n.decorator_list)]
            if decorated:
                return decorated[-1]  # overloads come first
            if found and name.startswith("forward"):
                return found[-1]
        return None


def annotate(tree):
    """Gives each node its function, and each function its class."""

    def visit(node, function, owner):
        for child in ast.iter_child_nodes(node):
            child.inside = function
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                child.owner = owner
                visit(child, child, "")
            elif isinstance(child, ast.ClassDef):
                visit(child, function, child.name)
            else:
                visit(child, function, owner)

    tree.inside = None
    visit(tree, None, "")
    return tree


def kind(node):
    return "none" if isinstance(node, ast.Constant) and node.value is None else "passed"


def expanded(node, function):
    """The keywords that ** of an expression adds: of a dict, or of a variable that the function makes one of."""
    out = {}
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values):
            if key is None:
                out.update(expanded(value, function))
            elif isinstance(key, ast.Constant):
                out[key.value] = kind(value)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "dict":
        for k in node.keywords:
            out.update({k.arg: kind(k.value)} if k.arg else expanded(k.value, function))
    elif isinstance(node, ast.IfExp):
        for branch in (node.body, node.orelse):
            out.update(expanded(branch, function))
    elif isinstance(node, ast.Name) and function is not None:
        out.update(assigned(node, function))
    return out


def assigned(name, function):
    """The keywords of the dict that a variable holds where it is used: of the last one that was assigned before, and of what was set in it since."""
    made, added = None, []
    for n in ast.walk(function):
        targets = n.targets if isinstance(n, ast.Assign) else [n.target] if isinstance(n, ast.AnnAssign) else []
        for target in targets:
            if getattr(n, "lineno", name.lineno) >= name.lineno or n.value is None:
                continue
            if isinstance(target, ast.Name) and target.id == name.id:
                made = n if made is None or n.lineno > made.lineno else made
            elif isinstance(target, ast.Subscript) and ast.unparse(target.value) == name.id and isinstance(target.slice, ast.Constant):
                added.append(n)
    out = {} if made is None else expanded(made.value, function)
    for n in added:
        if made is None or n.lineno > made.lineno:
            out[n.targets[0].slice.value] = "passed"
    return out


def parameters(definition):
    """The parameters that take positions, without self, and those that have a default."""
    args = definition.args
    names = [a.arg for a in args.posonlyargs + args.args]
    defaults = names[len(names) - len(args.defaults):] if args.defaults else []
    defaults += [a.arg for a, d in zip(args.kwonlyargs, args.kw_defaults) if d is not None]
    return [n for n in names if n != "self"], defaults


def arguments(call, names):
    """The parameters that a call passes, by name, and how many of them by position."""
    positional = []
    for i, value in enumerate(call.args):
        positional.append((names[i] if i < len(names) else f"*{i}", kind(value)))
    passed = dict(positional)
    for k in call.keywords:
        passed.update({k.arg: kind(k.value)} if k.arg else expanded(k.value, call.inside))
    return [name for name, _ in positional], passed


def forwarded(definition, outer, method):
    """What the call of another method inside a method passes on: of the outer call's arguments, its constants and its defaults."""
    _, defaulted = parameters(definition)
    for n in ast.walk(definition):
        if isinstance(n, ast.Call) and ast.unparse(n.func) == f"self.{method}":
            return n, defaulted
    return None, defaulted


def sites(package, site):
    path = f"{site['package']}/{site['file']}"
    tree = package.tree(path)
    if tree is None:
        return None
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == site["call"]]
    if "in" in site:
        found = [n for n in found if n.inside is not None and n.inside.name == site["in"]]
    return sorted(found, key=lambda n: n.lineno)


def read(entry, packages):
    """What the site of an entry passes in one release: positional, passes, defaults. Or a string that says what is wrong."""
    site, flashinfer = entry["site"], packages["flashinfer"]
    calls = sites(packages[site["package"]], site)
    if not calls or len(calls) <= site.get("nth", 0):
        return f"{site['file']} has no call of {site['call']} {site.get('in', '')}"
    call = calls[site.get("nth", 0)]
    name = entry["api"].rsplit(".", 1)[1]
    owner = name if name[0].isupper() else ""
    method = entry.get("method", "") if owner else name
    definition = flashinfer.definition(method, owner)
    if definition is None:
        return f"FlashInfer has no decorated {method} {owner}"
    names, defaults = parameters(definition)
    through = entry.get("through")
    if not through:
        positional, passed = arguments(call, names)
        return {"positional": positional, "passes": passed, "defaults": defaults}
    outer = flashinfer.definition(through, owner)
    if outer is None:
        return f"FlashInfer has no {owner}.{through}"
    _, given = arguments(call, parameters(outer)[0])
    inner, defaulted = forwarded(outer, given, method)
    if inner is None:
        return f"{owner}.{through} does not call {method}"
    positional, passed = arguments(inner, names)
    for argument in [*zip(positional, inner.args), *((k.arg, k.value) for k in inner.keywords)]:
        key, value = argument
        if isinstance(value, ast.Name) and value.id in given:
            passed[key] = given[value.id]
        elif isinstance(value, ast.Name) and value.id in defaulted:
            default = dict(zip([a.arg for a in outer.args.args][-len(outer.args.defaults):], outer.args.defaults)).get(value.id)
            passed[key] = "passed" if default is None else kind(default)
    return {"positional": positional, "passes": passed, "defaults": defaults}


def compare(entry, seen):
    """The differences between an entry and what was read."""
    if isinstance(seen, str):
        return [seen]
    problems = []
    stated = entry["passes"]
    for name in sorted(set(stated) | set(seen["passes"])):
        if name not in seen["passes"]:
            problems.append(f"{name} is in the table and not passed")
        elif name not in stated:
            problems.append(f"{name} is passed ({seen['passes'][name]}) and not in the table")
        elif seen["passes"][name] == "none" and stated[name] != "none":
            problems.append(f"{name} is passed as None; the table has {stated[name]}")
        elif stated[name] == "none" and seen["passes"][name] != "none" and "none_read" not in entry:
            problems.append(f"{name} is None in the table and is passed")
    if entry.get("positional", []) != seen["positional"]:
        problems.append(f"positions are {seen['positional']}, in the table {entry.get('positional', [])}")
    optional = sorted(set(seen["passes"]) & set(seen["defaults"]))
    if sorted(entry.get("optional", [])) != optional:
        problems.append(f"parameters with a default are {optional}, in the table {sorted(entry.get('optional', []))}")
    return problems


def wheel(folders, *names):
    for folder in folders:
        for name in names:
            for found in sorted(Path(folder).glob(f"{name}-*.whl")):
                return found
    return None


def main(table, releases, *folders):
    entries = json.loads(Path(table).read_text())["calls"]
    failed = missing = False
    for version in json.loads(Path(releases).read_text())["releases"]:
        packages = {}
        for package, names in {
            "sglang": [f"sglang-{version['sglang']}"],
            "flashinfer": [f"flashinfer_python-{version['flashinfer']}"],
            "sgl_kernel": [f"sglang_kernel-{version['sgl_kernel']}", f"sgl_kernel-{version['sgl_kernel']}"],
        }.items():
            found = wheel(folders, *names)
            if found is not None:
                packages[package] = Package(found)
        if "sglang" not in packages or "flashinfer" not in packages:
            print(f"SGLang {version['sglang']}: SKIPPED, no wheel of {'FlashInfer ' + version['flashinfer'] if 'sglang' in packages else 'it'}")
            missing = True
            continue
        checked = texts = unchecked = 0
        for entry in entries:
            at = number(version["sglang"])
            if at < number(entry["from"]) or (entry.get("before") and at >= number(entry["before"])):
                continue
            problems = []
            if entry["site"]["package"] not in packages:
                unchecked += 1
            else:
                problems = compare(entry, read(entry, packages))
                checked += 1
            for evidence in entry.get("read", []):
                if evidence["package"] not in packages:
                    continue
                text = packages[evidence["package"]].text(f"{evidence['package']}/{evidence['file']}")
                texts += 1
                if text is None or not any(t in text for t in evidence["texts"]):
                    problems.append(f"{evidence['file']} has none of {evidence['texts']}")
            for problem in problems:
                failed = True
                print(f"SGLang {version['sglang']}: {entry['api']} {entry.get('method', '')}: {problem}")
        print(f"SGLang {version['sglang']}: {checked} call sites and {texts} texts as in the table, {unchecked} in a package that is not here")
    return 1 if failed else 2 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

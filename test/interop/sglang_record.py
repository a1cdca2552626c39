#!/usr/bin/env python3
"""Records the command lines of SGLang releases as the table that internal/sglang embeds.

    sglang_record.py WHEEL_OR_DIRECTORY... > internal/sglang/table.jsonl
    sglang_record.py --check internal/sglang/table.jsonl WHEEL_OR_DIRECTORY...

With --check nothing is written: exit status 1 where the table does not say of these releases what their parsers do. Each argument is a wheel, or the directory one was unpacked to. Of each release its own parser is executed (sglang_parser.py,
in a process of its own), and read are: options, with what they take; the keywords of its Engine; the routes of its HTTP
server; whether it has the environment variables of ENV; and the FlashInfer it pins. Facts only: no help text is kept.

The table is one JSON object a line, the first one the header. A line holds for the inclusive ranges of releases in "in",
which count only recorded releases. "option" has an option's spellings, the first one its own name. Left out when usual:
arity "1", type "str", field = the first spelling with underscores; of an arity "0" the value true.
"""
import ast
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ENV = [
    "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION",
    "SGLANG_FLASHINFER_USE_PAGED",
]

# Options up to 0.5.13 whose value from_cli_args moves to a field of another name.
MOVED = {
    "tensor_parallel_size": "tp_size",
    "pipeline_parallel_size": "pp_size",
    "data_parallel_size": "dp_size",
    "expert_parallel_size": "ep_size",
    "attention_context_parallel_size": "attn_cp_size",
    "moe_data_parallel_size": "moe_dp_size",
}


def release_key(text):
    numbers, _, post = text.partition(".post")
    return [int(n) for n in numbers.split(".")] + [int(post or -1)]


def replacement(action):
    """What a deprecated option says to use instead, "" where it names nothing; None where it is not deprecated."""
    text = action.help or ""
    by_class = type(action).__name__.startswith("Deprecated")
    by_help = re.match(r"\W*deprecated\b|Note: --\S+ is deprecated", text, re.I)
    if not by_class and not by_help:
        return None
    if getattr(action, "new_flag", None):
        return action.new_flag
    named = re.search(r"(?:use|alias for) (--[^\s,;)]+)", text, re.I)
    return named.group(1).rstrip(".") if named else ""


def option(action, fields):
    names = list(action.option_strings)
    row = {"option": names}
    dest = MOVED.get(action.dest, action.dest)
    if dest not in fields:
        row["field"] = ""  # the command line's alone
    elif dest != names[0].lstrip("-").replace("-", "_"):
        row["field"] = dest
    arity = "1" if action.nargs is None else str(action.nargs)
    if arity != "1":
        row["arity"] = arity
    if arity == "0":
        value = getattr(action, "const_value", None)
        value = action.const if value is None else value
        if type(action).__name__ == "BooleanOptionalAction":
            row["negatable"] = True
        elif value is not True and value is not None:
            row["value"] = value
    elif action.type is not None and action.type is not str:
        row["type"] = {"loads": "json"}.get(action.type.__name__, action.type.__name__)
    if action.choices is not None:
        row["choices"] = sorted(action.choices, key=str)
    if action.required:
        row["required"] = True
    use = replacement(action)
    if use is not None:
        row["deprecated"] = use
    if getattr(action, "error_message", None):
        row["refused"] = " ".join(re.findall(r"--[a-z0-9-]+", action.error_message)[1:])
    return row


def routes(directory):
    """The paths of the HTTP server's routes, by its source: @app.get("/path") and the like."""
    tree = ast.parse((directory / "sglang/srt/entrypoints/http_server.py").read_text())
    found = set()
    for node in ast.walk(tree):
        for call in getattr(node, "decorator_list", []):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
                continue
            if isinstance(call.func.value, ast.Name) and call.func.value.id == "app" and isinstance(call.args[0], ast.Constant):
                if call.func.attr in ("get", "post", "put", "delete", "api_route"):
                    found.add(call.args[0].value)
    return found


def environment(directory):
    """Which of ENV the release reads: environ.py declares all it knows as class attributes."""
    declared = set(re.findall(r"^    (SGLANG_\w+) *=", (directory / "sglang/srt/environ.py").read_text(), re.M))
    return declared & set(ENV)


def flashinfer(directory):
    """The FlashInfer release that the wheel requires."""
    (metadata,) = directory.glob("sglang-*.dist-info/METADATA")
    return re.search(r"^Requires-Dist: flashinfer[_-]python(?:\[\w+\])?==([\w.]+)", metadata.read_text(), re.M).group(1)


def record_one(directory):
    """The rows of one release, without "in". Runs in a process of its own."""
    import sglang_parser

    parser, fields = sglang_parser.load(directory)
    rows = [option(a, fields) for a in parser._actions if a.dest != "help"]
    rows += [{"keyword": name, "type": kind} for name, kind in fields.items() if not name.startswith("_")]
    rows += [{"route": path} for path in routes(directory)]
    rows += [{"env": name} for name in environment(directory)]
    rows.append({"flashinfer": flashinfer(directory)})
    return rows


def unpack(source, scratch):
    """The directory of a wheel's Python files, and its release."""
    source = Path(source)
    if source.is_dir():
        directory = source
    else:
        directory = Path(scratch) / source.stem
        with zipfile.ZipFile(source) as wheel:
            wheel.extractall(directory, [n for n in wheel.namelist() if n.endswith((".py", "/METADATA"))])
    found = list(directory.glob("sglang-*.dist-info"))
    if len(found) != 1:
        raise SystemExit(f"{source}: not one sglang-*.dist-info but {len(found)}")
    return directory, found[0].name.removesuffix(".dist-info").removeprefix("sglang-")


KINDS = ["flashinfer", "option", "keyword", "route", "env"]


def kind(row):
    return next(k for k in KINDS if k in row)


def order(line):
    key = kind(line)
    name = line[key][0] if key == "option" else line[key]
    return KINDS.index(key), "" if key == "flashinfer" else name, release_key(line["in"][0].partition("..")[0])


def merge(by_release):
    """Joins equal rows of releases into ranges."""
    releases = sorted(by_release, key=release_key)
    seen = {}
    for i, release in enumerate(releases):
        for row in by_release[release]:
            seen.setdefault(json.dumps(row), []).append(i)
    lines = []
    for text, at in seen.items():
        ranges, start = [], at[0]
        for here, following in zip(at, [*at[1:], None]):
            if following != here + 1:
                ranges.append(releases[start] if start == here else f"{releases[start]}..{releases[here]}")
                start = following
        row = json.loads(text)
        key = kind(row)
        lines.append({key: row.pop(key), "in": ranges, **row})
    return [{"releases": releases}, *sorted(lines, key=order)]


def rows_of(lines, release):
    """What a table's lines say of one release, as record_one gives it."""
    releases, rows = lines[0]["releases"], []
    if release not in releases:
        return rows
    at = releases.index(release)
    for line in lines[1:]:
        for span in line["in"]:
            first, _, last = span.partition("..")
            if releases.index(first) <= at <= releases.index(last or first):
                rows.append({k: v for k, v in line.items() if k != "in"})
    return rows


def check(table, by_release):
    """Prints how a table differs from what was recorded just now. True: not at all."""
    lines, same = [json.loads(line) for line in Path(table).read_text().splitlines()], True
    for release, rows in sorted(by_release.items(), key=lambda item: release_key(item[0])):
        said, does = ({json.dumps(row, sort_keys=True) for row in some} for some in (rows_of(lines, release), rows))
        for row in sorted(said ^ does):
            same = False
            print(f"{release}: {'only the table has' if row in said else 'the table lacks'} {row}")
        print(f"{release}: {len(said & does)} of {len(does)} rows agree with {table}")
    return same


def record(sources):
    """The rows of each release that is given."""
    by_release = {}
    with tempfile.TemporaryDirectory() as scratch:
        for source in sources:
            directory, release = unpack(source, scratch)
            out = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--one", str(directory)], stdout=subprocess.PIPE, text=True, check=True
            )
            by_release[release] = json.loads(out.stdout.splitlines()[-1])
    return by_release


def main(arguments):
    if arguments[:1] == ["--check"] and len(arguments) > 2:
        sys.exit(not check(arguments[1], record(arguments[2:])))
    if not arguments or arguments[0].startswith("-"):
        raise SystemExit(__doc__)
    for line in merge(record(arguments)):
        print(json.dumps(line, separators=(",", ":"), ensure_ascii=False))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(record_one(Path(sys.argv[2]))))
    else:
        main(sys.argv[1:])

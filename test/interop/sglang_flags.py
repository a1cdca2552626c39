#!/usr/bin/env python3
"""Lets SGLang's own argument parsers judge command lines of ours.

    sglang_flags.py WHEELS COMMANDS...

WHEELS holds the released wheels, sglang-<release>-*.whl. COMMANDS are files of JSON documents, one a line, or one document as
`tracefleet collect --plan-only --json` prints it, with "release", "args" or "engine", and "ready" in each command, however deep.
Of each release there is a wheel of, the command lines must be accepted by its parser (sglang_parser.py: the real one, with
stand-ins for what needs torch or a GPU) without a warning, with no deprecated option, and with every option's name written
out; each Engine keyword must be a field of its own ServerArgs; the ready path must be a route of its server, and none of those
that generate; and what SGLANG_ variables are set it must declare.

Prints a line of counts a release and every problem once. Exit status 1 on any problem, 2 where a release has no commands or no
wheel.
"""
import contextlib
import io
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

RELEASES = ["0.5.8", "0.5.12", "0.5.16", "0.5.23"]

# Routes that answer by generating: their handler makes a request of its own.
GENERATING = {"/health", "/health_generate"}


def commands(document):
    """Every command below a JSON document."""
    if isinstance(document, dict):
        if "release" in document and ("args" in document or "engine" in document):
            yield document
        for value in document.values():
            yield from commands(value)
    elif isinstance(document, list):
        for value in document:
            yield from commands(value)


def keywords(command):
    """The names of an Engine's keywords, given as an object or as a list of name and value."""
    engine = command.get("engine") or []
    return sorted(engine if isinstance(engine, dict) else (keyword["name"] for keyword in engine))


def read(path):
    text = Path(path).read_text()
    try:
        documents = [json.loads(text)]
    except json.JSONDecodeError:
        documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    for document in documents:
        yield from commands(document)


class Records(logging.Handler):
    """Keeps what is logged: SGLang warns of a deprecated option through its logger."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


def parse_problems(parser, args, deprecated):
    """What is wrong with a command line, in words."""
    if args[:2] != ["-m", "sglang.launch_server"]:
        return [f"does not start the server: {args[:2]}"]
    args = args[2:]
    problems = []
    own = {name for action in parser._actions for name in action.option_strings}
    for arg in args:
        name = arg.partition("=")[0]
        if arg.startswith("--") and name not in own:
            problems.append(f"{name} is no option's whole name")
        if name in deprecated:
            problems.append(f"{name} is deprecated; the release says {deprecated[name] or 'nothing'} of its place")
    records, text = Records(), io.StringIO()
    logging.getLogger().addHandler(records)
    try:
        with contextlib.redirect_stderr(text), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            parser.parse_args(args)
        problems += [f"warns: {w.message}" for w in caught] + [f"warns: {m}" for m in records.seen]
    except SystemExit:
        problems.append("exits: " + text.getvalue().strip().splitlines()[-1])
    finally:
        logging.getLogger().removeHandler(records)
    return problems


def judge(directory, listed):
    """Runs in a process of its own: problem -> an example of where, and the number of commands."""
    import sglang_parser
    import sglang_record

    parser, fields = sglang_parser.load(directory)
    deprecated = {}
    for action in parser._actions:
        use = sglang_record.replacement(action)
        if use is not None:
            deprecated.update(dict.fromkeys(action.option_strings, use))
    routes, declared = sglang_record.routes(directory), sglang_record.environment(directory)
    problems, counts = {}, Counter()
    for command in listed:
        found = []
        if command.get("args"):
            counts["command lines"] += 1
            found += parse_problems(parser, command["args"], deprecated)
            ready = command.get("ready")
            if ready not in routes or ready in GENERATING:
                found.append(f"{ready} is no route that tells readiness without generating")
        else:
            counts["engines"] += 1
            if not command.get("engine"):
                found.append("has neither arguments nor keywords")
        for name in keywords(command):
            counts["keywords"] += 1
            if name not in fields or name.startswith("_"):
                found.append(f"{name} is no keyword of its Engine")
        for variable in command.get("env") or []:
            name = variable.partition("=")[0]
            if name.startswith("SGLANG_") and name not in declared:
                found.append(f"{name} is not declared in its environ.py")
        for problem in found:
            problems.setdefault(problem, command.get("what") or " ".join(command.get("args") or keywords(command)))
    return problems, counts


def main(wheels, files):
    import sglang_record

    by_release = {}
    for path in files:
        for command in read(path):
            by_release.setdefault(command["release"], []).append(command)
    status = 0
    with tempfile.TemporaryDirectory() as scratch:
        for release in RELEASES:
            found = sorted(Path(wheels).glob(f"sglang-{release}-*.whl"))
            if not found or not by_release.get(release):
                print(f"{release}: {'no commands to judge' if found else f'no wheel in {wheels}'}")
                status = status or 2
                continue
            directory, _ = sglang_record.unpack(found[0], scratch)
            run = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--one", str(directory)],
                input=json.dumps(by_release[release]),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            problems, counts = json.loads(run.stdout.splitlines()[-1])
            print(f"{release}: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) + f", {len(problems)} problems")
            for problem, where in sorted(problems.items()):
                print(f"    {problem}\n        in {where}")
                status = 1
    return status


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(judge(Path(sys.argv[2]), json.load(sys.stdin))))
    elif len(sys.argv) < 3:
        raise SystemExit(__doc__)
    else:
        sys.exit(main(sys.argv[1], sys.argv[2:]))

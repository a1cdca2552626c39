"""Stands in for flashinfer-bench's command line: takes the options of `validate`, and writes a report of its format without looking
at anything but the names of the definitions. test/interop/judge_contract.py holds both against the real ones.

What the report says, and what else happens, is in the dataset's standin.json:
    messages  {definition: {check: [[level, message], ...]}}
    drop      names of definitions and checks that are left out of the report
    status    {check: status} instead of what the messages give
    report    text that is written instead of a report
    do        "raise", "exit", "hang", "token"
"""
import argparse
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

CHECKS = ["layout", "definition", "workload", "solution", "trace", "baseline", "benchmark"]


def result(messages):
    levels = [level for level, _ in messages]
    status = "error" if "error" in levels else "warning" if "warning" in levels else "ok"
    return {"status": status, "messages": [{"level": level, "message": message} for level, message in messages]}


def report_of(dataset, checks, disable_gpu, op_types, definitions, script):
    names = sorted(path.stem for path in Path(dataset).glob("definitions/*/*.json"))
    reports = {}
    for name in names:
        if definitions and name not in definitions or name in script.get("drop", []):
            continue
        told = script.get("messages", {}).get(name, {})
        report = {check: result(told.get(check, [])) if check in checks else None for check in CHECKS}
        for check, status in script.get("status", {}).items():
            report[check]["status"] = status
        states = [r["status"] for r in report.values() if r]
        status = "error" if "error" in states else "warning" if "warning" in states else "ok"
        reports[name] = {"status": status, **{c: r for c, r in report.items() if c not in script.get("drop", [])}}
    config = {"dataset": str(dataset), "checks": checks, "disable_gpu": disable_gpu, "op_types": op_types, "definitions": definitions}
    return {"config": config, "definitions": reports}


def hang(dataset):
    """Holds the pipe open, and has a child that does so too and does not end when asked."""
    pipe = os.open(Path(dataset) / "alive", os.O_WRONLY)
    child = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write({0}, b'child\\n'); time.sleep(60); os.write({0}, b'survived\\n')"
    subprocess.Popen([sys.executable, "-c", child.format(pipe)], pass_fds=[pipe], stderr=subprocess.DEVNULL)
    time.sleep(60)
    os.write(pipe, b"survived\n")


def validate(args):
    script = {}
    if (Path(args.dataset) / "standin.json").exists():
        script = json.loads((Path(args.dataset) / "standin.json").read_text())
    do = script.get("do")
    if do == "raise":
        raise FileNotFoundError(f"dataset root does not exist: {args.dataset}")
    if do == "exit":
        sys.exit(0)
    if do == "hang":
        hang(args.dataset)
    if do == "token":
        script["messages"] = {args.definitions[0]: {"layout": [["error", f"HF_TOKEN={os.environ.get('HF_TOKEN')}"]]}}
    checks = [c for c in (args.checks.split(",") if args.checks else CHECKS) if not (args.disable_gpu and c == "benchmark")]
    report = report_of(args.dataset, checks, args.disable_gpu, args.op_types or [], args.definitions or [], script)
    if "json" in args.outputs.split(","):
        folder = Path(args.output_folder or Path(args.dataset) / "reports")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"report-{datetime.now().strftime('%Y%m%d-%H%M%S')}.json"
        (folder / name).write_text(script.get("report") or json.dumps(report, indent=2))


def cli():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("validate")
    command.add_argument("--dataset", type=str, default=None)
    command.add_argument("--checks", type=str, default=None)
    command.add_argument("--disable-gpu", action="store_true")
    command.add_argument("--op-types", type=str, nargs="+", default=None)
    command.add_argument("--definitions", type=str, nargs="+", default=None)
    command.add_argument("--output-folder", type=str, default=None)
    command.add_argument("--outputs", type=str, default="stdout,json,text")
    command.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    command.set_defaults(func=validate)
    args = parser.parse_args()
    args.func(args)

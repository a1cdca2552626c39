#!/usr/bin/env python3
"""Checks the judge: sglang_flags.py must find what is wrong with commands that SGLang would not take.

    sglang_flags_test.py WHEELS
"""
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import sglang_flags

GOOD = ["-m", "sglang.launch_server", "--model-path", "m"]


def server(release, *args, **more):
    return {"release": release, "args": [*GOOD, *args], "ready": "/model_info", "env": [], **more}


# A command, and what the judge must say of it.
BAD = [
    (server("0.5.23", "--disable-piecewise-cuda-graph"), "--disable-piecewise-cuda-graph is no option's whole name"),
    (server("0.5.23", "--disable-piecewise-cuda-graph"), "unrecognized arguments: --disable-piecewise-cuda-graph"),
    (server("0.5.23", "--disable-cuda-graph"), "--disable-cuda-graph is deprecated"),
    (server("0.5.23", "--disable-cuda-graph"), "warns: "),
    (server("0.5.16", "--cuda-graph-max-bs", "8"), "--cuda-graph-max-bs is deprecated; the release says --cuda-graph-max-bs-decode"),
    (server("0.5.16", "--tp", "2"), "--tp is no option's whole name"),
    (server("0.5.8", "--attention-backend", "nonsense"), "invalid choice: 'nonsense'"),
    (server("0.5.8", "--moe-runner-backend", "flashinfer_trtllm_routed"), "invalid choice"),
    (server("0.5.12", "--page-size"), "expected one argument"),
    (server("0.5.12", "--page-size", "many"), "invalid int value"),
    (server("0.5.8", ready="/ready"), "/ready is no route"),
    (server("0.5.8", ready="/health"), "/health is no route that tells readiness without generating"),
    (server("0.5.8", env=["SGLANG_FLASHINFER_USE_PAGED=1"]), "SGLANG_FLASHINFER_USE_PAGED is not declared"),
    ({"release": "0.5.8", "args": ["-m", "sglang"]}, "does not start the server"),
    ({"release": "0.5.16", "engine": [{"name": "disable_piecewise_cuda_graph", "value": True}]}, "disable_piecewise_cuda_graph is no keyword"),
    ({"release": "0.5.23", "engine": {"cuda_graph_max_bs": 8}}, "cuda_graph_max_bs is no keyword"),
    ({"release": "0.5.23", "engine": []}, "has neither arguments nor keywords"),
]


def judged(wheels, commands):
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "commands.json"
        file.write_text(json.dumps({"tasks": [{"command": c} for c in commands]}))
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            status = sglang_flags.main(wheels, [file])
        return status, text.getvalue()


def main(wheels):
    good = [server(release) for release in sglang_flags.RELEASES]
    good += [{"release": release, "engine": {"model_path": "m"}} for release in sglang_flags.RELEASES]
    status, text = judged(wheels, good)
    assert status == 0, text
    status, text = judged(wheels, good[1:2])
    assert status == 2 and "0.5.8: no commands to judge" in text, text
    status, text = judged(wheels, good + [command for command, _ in BAD])
    assert status == 1, text
    said = {}  # release -> what is said of it
    for line in text.splitlines():
        if not line.startswith(" "):
            release = line.partition(":")[0]
        said[release] = said.get(release, "") + line + "\n"
    for command, want in BAD:
        assert want in said[command["release"]], f"{want!r} is not said of {command}:\n{text}"
    print(f"sglang_flags_test: {len(good)} good commands pass, {len(BAD)} bad ones are found")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])

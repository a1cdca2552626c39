"""A dataset's files, as far as evaluations look at them."""
import json
from pathlib import Path
from types import SimpleNamespace


class TraceSet:
    def __init__(self, root):
        def read(pattern):
            return [SimpleNamespace(**json.loads(path.read_text())) for path in Path(root).glob(pattern)]

        self.definitions = {d.name: d for d in read("definitions/*/*.json")}
        solutions, self.workloads = read("solutions/**/*.json"), {}
        self.solutions = {name: solutions for name in self.definitions}
        for path in Path(root).glob("workloads/*/*.jsonl"):
            lines = map(json.loads, path.read_text().splitlines())
            self.workloads[path.stem] = [SimpleNamespace(workload=SimpleNamespace(**line["workload"])) for line in lines]

    @classmethod
    def from_path(cls, path):
        return cls(path)

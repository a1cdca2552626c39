#!/usr/bin/env python3
"""The judge's own test: a good dataset passes, and each way of breaking it is found."""
import json
import shutil
import tempfile
import unittest
from pathlib import Path

import numpy
from judge_dataset import judge
from safetensors.numpy import save_file

DEFINITIONS = Path(__file__).parents[2] / "testdata" / "dataset" / "definitions"
NAME, OP = "gqa_paged_decode_h32_kv8_d128_ps1", "gqa_paged"
UUID = "6c4bb4a1-3a0b-5c39-9a58-3a4f8d0f9a11"


class Judge(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "definitions" / OP).mkdir(parents=True)
        shutil.copy(DEFINITIONS / OP / f"{NAME}.json", self.root / "definitions" / OP)
        self.blob = self.root / "blob" / "workloads" / OP / NAME / f"{NAME}_{UUID}.safetensors"
        self.blob.parent.mkdir(parents=True)
        self.tensors = {
            "kv_indptr": numpy.array([0, 2, 5], dtype=numpy.int32),
            "kv_indices": numpy.array([3, 1, 0, 2, 4], dtype=numpy.int32),
        }
        saved = {"type": "safetensors", "path": f"./blob/workloads/{OP}/{NAME}/{self.blob.name}"}
        self.workload = {
            "uuid": UUID,
            "axes": {"batch_size": 2, "num_pages": 5, "len_indptr": 3, "num_kv_indices": 5},
            "inputs": {
                "q": {"type": "random"},
                "k_cache": {"type": "random"},
                "v_cache": {"type": "random"},
                "kv_indptr": {**saved, "tensor_key": "kv_indptr"},
                "kv_indices": {**saved, "tensor_key": "kv_indices"},
                "sm_scale": {"type": "scalar", "value": 0.088},
            },
        }

    def problems(self, copies=1):
        if self.tensors is not None:
            save_file(self.tensors, self.blob)
        entry = {"definition": NAME, "solution": None, "workload": self.workload, "evaluation": None}
        lines = self.root / "workloads" / OP / f"{NAME}.jsonl"
        lines.parent.mkdir(parents=True)
        lines.write_text((json.dumps(entry) + "\n") * copies)
        return " | ".join(judge(self.root)[1])

    def test_good(self):
        self.assertEqual(self.problems(), "")

    def provenance(self, *lines, op=OP):
        file = self.root / "provenance" / op / f"{NAME}.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(line + "\n" for line in lines))

    def test_provenance(self):
        self.provenance(*(json.dumps({"uuid": UUID, "collection": "c-1", "task": task}) for task in ("t000", None)))
        self.assertEqual(self.problems(), "")

    def test_provenance_twice(self):
        self.provenance(*[json.dumps({"uuid": UUID, "collection": "c-1", "task": "t000"})] * 2)
        self.assertIn(":2: ", self.problems())

    def test_provenance_of_no_workload(self):
        self.provenance(json.dumps({"uuid": "x" + UUID[1:], "collection": None, "task": None}))
        self.assertIn("no workload", self.problems())

    def test_provenance_elsewhere(self):
        self.provenance(json.dumps({"uuid": UUID, "collection": None, "task": None}), op="other")
        self.assertIn("no workload", self.problems())

    def test_provenance_no_json(self):
        self.provenance("{")
        self.assertIn(":1: ", self.problems())

    def test_dangling(self):
        self.tensors = None
        self.assertIn("dangling", self.problems())

    def test_path_leaves(self):
        self.workload["inputs"]["kv_indptr"]["path"] = "../x.safetensors"
        self.assertIn("leaves the dataset", self.problems())

    def test_orphan(self):
        self.blob.with_name("left.safetensors").write_bytes(b"")
        self.assertIn("orphan", self.problems())

    def test_unused_tensor(self):
        self.tensors["more"] = numpy.zeros(1, dtype=numpy.int32)
        self.assertIn("nothing refers to ['more']", self.problems())

    def test_missing_key(self):
        del self.tensors["kv_indices"]
        self.assertIn("kv_indices", self.problems())

    def test_wrong_dtype(self):
        self.tensors["kv_indices"] = self.tensors["kv_indices"].astype(numpy.int64)
        self.assertIn("dtype", self.problems())

    def test_wrong_shape(self):
        self.tensors["kv_indices"] = self.tensors["kv_indices"][:4].copy()
        self.assertIn("shape", self.problems())

    def test_constraint(self):
        self.tensors["kv_indptr"][-1] = 4
        self.assertIn("does not hold", self.problems())

    def test_random_integers(self):
        self.workload["inputs"]["kv_indices"] = {"type": "random"}
        self.assertIn("int32 values are random", self.problems())

    def test_scalar_type(self):
        self.workload["inputs"]["sm_scale"]["value"] = 1
        self.assertIn("scalar is a int", self.problems())

    def test_axes(self):
        del self.workload["axes"]["num_pages"]
        self.assertIn("axes", self.problems())

    def test_inputs(self):
        del self.workload["inputs"]["q"]
        self.assertIn("inputs", self.problems())

    def test_same_uuid(self):
        self.assertIn("comes 2 times", self.problems(copies=2))

    def test_not_loadable(self):
        self.workload["axes"]["batch_size"] = -1
        self.assertIn("does not load", self.problems())

    def test_truncated_blob(self):
        save_file(self.tensors, self.blob)
        self.blob.write_bytes(self.blob.read_bytes()[:-4])
        self.tensors = None
        self.assertIn("kv_ind", self.problems())


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Baseline solutions against the signatures of FlashInfer's releases, without a GPU.

    baseline.py WHEELS_DIR INDEX RELEASE...

INDEX is what test/interop/baselines prints. Each solution must be one of flashinfer-bench's, and its run is called with small CPU tensors,
while `flashinfer` is a stand-in: it computes nothing, but each of its callables is looked up in the release's wheel and takes exactly what the
real one takes. What is planned must agree with the tensors that are run, what is returned with the definition's outputs, and no input may
change. At the end sources are broken on purpose, each of which must be found. Exit status 1 on any difference.
"""
import ast
import contextlib
import importlib.machinery
import inspect
import json
import sys
import zipfile
from collections import Counter
from pathlib import Path

import flashinfer_wheel
import torch
from flashinfer_bench.data import Definition, Solution

# Two requests: 1 and 2 query tokens, 2 and 3 pages (tokens where keys are ragged), of a cache that has one page more than is used.
AXES = {
    "batch_size": 2, "num_seqs": 2, "len_indptr": 3, "len_cu_seqlens": 3, "total_q": 3, "total_seq_len": 3, "total_kv": 5, "num_kv_indices": 5, "num_pages": 6,
    "m": 3, "seq_len": 3, "num_tokens": 3, "num_qo_heads": 4, "num_kv_heads": 2, "max_seq_len": 7,
}
VALUES = {"qo_indptr": [0, 1, 3], "cu_seqlens": [0, 1, 3], "kv_indptr": [0, 2, 5], "kv_indices": [5, 1, 0, 2, 4], "positions": [6, 0, 3]}
SCALARS = {"local_expert_offset": 2}
# No weight is as large as it says: what is called never looks at more than their shapes, and one of these is 2 GB.
WEIGHTS = ("gemm1_weights", "gemm2_weights")
# A part of a signature's annotation, and what is one.
TYPES = {"torch.Tensor": torch.Tensor, "torch.dtype": torch.dtype, "int": int, "float": (int, float), "bool": bool, "str": str, "None": type(None)}


class Broken(Exception):
    """What is wrong with a solution."""


class Wheel:
    """The callables of a release, by its sources: nothing of it is imported."""

    def __init__(self, path):
        self.zip, self.parsed = zipfile.ZipFile(path), {}
        self.files = set(self.zip.namelist())

    def file(self, module):
        base = module.replace(".", "/")
        return next((f for f in (base + "/__init__.py", base + ".py") if f in self.files), None)

    def body(self, module):
        """A module's statements, those below if and try too."""
        if module not in self.parsed:
            tree = ast.parse(self.zip.read(self.file(module)))
            self.parsed[module] = list(flat(tree.body))
        return self.parsed[module]

    def imports(self, module):
        """What a module takes from others of the package: (their names, the aliases)."""
        package = module if self.file(module).endswith("__init__.py") else module.rpartition(".")[0]
        for node in self.body(module):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("flashinfer")):
                up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                yield ".".join([*up, *filter(None, [node.module])]), node.names

    def find(self, module, name):
        """Where a module's attribute is defined, as (module, node); a submodule is (its name, None). None where there is no such thing."""
        for node in reversed(self.body(module)):  # the last one counts, after those of @overload
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return module, node
        for source, names in self.imports(module):
            for alias in names:
                if (alias.asname or alias.name) == name:
                    return self.find(source, alias.name) if self.file(source) else None
                if alias.name == "*" and not name.startswith("_") and self.file(source) and (found := self.find(source, name)):
                    return found
        # A submodule is an attribute only once something imported it.
        inner = f"{module}.{name}"
        if self.file(inner) and any((source + ".").startswith(inner + ".") for source, _ in self.imports(module)):
            return inner, None
        return None


def flat(body):
    for node in body:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.ExceptHandler)):
                yield from flat(getattr(node, part, []))


def signature(node):
    """A function's, its annotations as text. Defaults are evaluated where they are constants, and are `...` elsewhere."""
    def default(value):
        try:
            return ast.literal_eval(value)
        except ValueError:
            return ...

    kinds, a, params = inspect.Parameter, node.args, []
    plain = [*a.posonlyargs, *a.args]
    defaults = [inspect.Parameter.empty] * (len(plain) - len(a.defaults)) + [default(d) for d in a.defaults]
    for i, (arg, value) in enumerate(zip(plain, defaults, strict=True)):
        params.append((arg, kinds.POSITIONAL_ONLY if i < len(a.posonlyargs) else kinds.POSITIONAL_OR_KEYWORD, value))
    if a.vararg:
        params.append((a.vararg, kinds.VAR_POSITIONAL, kinds.empty))
    for arg, value in zip(a.kwonlyargs, a.kw_defaults, strict=True):
        params.append((arg, kinds.KEYWORD_ONLY, kinds.empty if value is None else default(value)))
    if a.kwarg:
        params.append((a.kwarg, kinds.VAR_KEYWORD, kinds.empty))
    return inspect.Signature([kinds(arg.arg, kind, default=value, annotation=arg.annotation or kinds.empty) for arg, kind, value in params])


def fits(value, annotation):
    """Whether a value is what an annotation says, as far as this file knows the annotation's words."""
    if isinstance(annotation, ast.Subscript):
        outer = ast.unparse(annotation.value)
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if outer == "Optional":
            return value is None or fits(value, inner[0])
        if outer == "Union":
            return any(fits(value, one) for one in inner)
        if outer in ("Tuple", "tuple"):
            return isinstance(value, tuple) and len(value) == len(inner) and all(map(fits, value, inner))
        if outer == "Literal":
            return value in [ast.literal_eval(one) for one in inner]
    if isinstance(annotation, ast.BinOp):
        return fits(value, annotation.left) or fits(value, annotation.right)
    wanted = TYPES.get(ast.unparse(annotation))
    # Python takes True for 1, and an argument at the wrong place is found by that.
    return wanted is not None and isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def shown(value):
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype)[6:]}{list(value.shape)}"
    return f"({', '.join(map(shown, value))})" if isinstance(value, tuple) else repr(value)


def bind(where, node, cls, args, kwargs):
    """The arguments by the real parameter's names, defaults among them."""
    call = f"{where}({', '.join([*map(shown, args), *(f'{k}={shown(v)}' for k, v in kwargs.items())])})"
    want = signature(node)
    if cls:
        want = want.replace(parameters=list(want.parameters.values())[1:])  # self
    try:
        bound = want.bind(*args, **kwargs)
    except TypeError as err:
        raise Broken(f"{call}: {err}") from None
    given = dict(bound.arguments)
    for name, param in want.parameters.items():
        if name not in given:
            continue
        if param.kind is param.VAR_POSITIONAL:
            raise Broken(f"{call}: {len(given[name])} arguments fall into *{name}, which takes anything")
        if param.kind is param.VAR_KEYWORD:
            # It takes any name, and whom it hands them to does not.
            rest, handed = given.pop(name), handed_to(node, cls, name)
            if not handed:
                raise Broken(f"{call}: **{name} takes anything, and what becomes of it is not seen")
            return bind(f"{where} -> {handed.name}", handed, cls, (), {**given, **rest})
        if param.annotation is not param.empty and not fits(given[name], param.annotation):
            raise Broken(f"{call}: {name} is {shown(given[name])}, not {ast.unparse(param.annotation)}")
    bound.apply_defaults()
    return dict(bound.arguments)


def handed_to(node, cls, kwargs):
    """The method that a method hands its **kwargs to."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "self":
            if any(k.arg is None and ast.unparse(k.value) == kwargs for k in call.keywords):
                return method(cls, call.func.attr)
    return None


def method(cls, name):
    return next((n for n in reversed(cls.body) if isinstance(n, ast.FunctionDef) and n.name == name), None)


class Standin:
    """`flashinfer` of a release, or a submodule of it."""

    def __init__(self, wheel, calls, module="flashinfer"):
        self._wheel, self._calls, self._module = wheel, calls, module

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)  # Python itself asks
        found = self._wheel.find(self._module, name)
        if not found:
            raise Broken(f"there is no {self._module}.{name}")
        module, node = found
        if node is None:
            return Standin(self._wheel, self._calls, module)
        where = f"{self._module}.{name}"
        if isinstance(node, ast.ClassDef):
            return lambda *args, **kwargs: Wrapper(self._calls, where, node, args, kwargs)
        if name not in COMPUTE:
            raise Broken(f"the stand-in has no results of {where}")

        def call(*args, **kwargs):
            self._calls[where] += 1
            return COMPUTE[name](bind(where, node, None, args, kwargs))
        return call


class Wrapper:
    """An attention wrapper: planned, then run."""

    def __init__(self, calls, where, cls, args, kwargs):
        self._calls, self._where, self._cls, self._planned = calls, where, cls, None
        self._made = self._bind("__init__", args, kwargs)

    def _bind(self, name, args, kwargs):
        where = f"{self._where}.{name}"
        node = method(self._cls, name)
        if node is None:
            raise Broken(f"there is no {where}")
        self._calls[where] += 1
        return bind(where, node, self._cls, args, kwargs)

    def plan(self, *args, **kwargs):
        p = {name.removeprefix("paged_"): value for name, value in self._bind("plan", args, kwargs).items()}
        for name, value in p.items():
            if isinstance(value, torch.Tensor) and value.dtype != torch.int32:
                raise Broken(f"{self._where}.plan: {name} is {shown(value)}, and offsets, indices and lengths are int32")
        indptr = p.get("kv_indptr", p.get("indptr"))  # decode's has no prefix
        requests, size = len(indptr) - 1, p.get("page_size", 1)
        pages = indptr[1:] - indptr[:-1]
        for name in ("qo_indptr", "last_page_len", "kv_last_page_len", "kv_len_arr"):
            if name in p and len(p[name]) != requests + name.endswith("indptr"):
                raise Broken(f"{self._where}.plan: {name} is {shown(p[name])} for {requests} requests")
        last = p.get("last_page_len", p.get("kv_last_page_len"))
        if "kv_len_arr" in p:
            last = p["kv_len_arr"] - (pages - 1) * size
        if last is not None and not ((last >= 1) & (last <= size)).all():
            raise Broken(f"{self._where}.plan: the last pages of {size} hold {last.tolist()}")
        self._planned = p

    def run(self, *args, **kwargs):
        r, p = self._bind("run", args, kwargs), self._planned
        if p is None:
            raise Broken(f"{self._where}.run without a plan")
        q = r["q"] if "q" in r else r["q_nope"]
        if "ckv_cache" in r:
            cache = r["ckv_cache"]
            seen = {"num_heads": q.shape[1], "head_dim_ckv": q.shape[2], "head_dim_kpe": r["q_pe"].shape[2], "page_size": cache.shape[1]}
        else:
            cache = r["paged_kv_cache"][0] if "paged_kv_cache" in r else r["k"]
            seen = {"num_qo_heads": q.shape[1], "num_kv_heads": cache.shape[-2], "head_dim" if "head_dim" in p else "head_dim_qk": q.shape[2]}
            if "paged_kv_cache" in r:
                seen["page_size"] = cache.shape[1]
            if self._made["kv_layout"] != "NHD":
                raise Broken(f"{self._where}: the layout is {self._made['kv_layout']}, and the definitions' tensors are NHD")
        seen |= {"q_data_type": q.dtype, "kv_data_type": cache.dtype}
        for name, value in seen.items():
            if p[name] != value:
                raise Broken(f"{self._where}: planned with {name} {p[name]}, run with {value}")
        # By the arguments and the real defaults, never by the definition, which is what it is compared to.
        width = q.shape[2]
        if "v" in r:  # ragged: FlashInfer takes head_dim_vo, if it was not passed, from head_dim_qk
            width = p.get("head_dim_vo") or p["head_dim_qk"]
            if r["v"].shape[2] != width:
                raise Broken(f"{self._where}: planned with head_dim_vo {width}, run with {r['v'].shape[2]}")
        out = torch.zeros(*q.shape[:2], width, dtype=p.get("o_data_type") or q.dtype)
        return (out, torch.zeros(q.shape[:2], dtype=torch.float32)) if r["return_lse"] else out


def fused_add_rmsnorm(a):
    a["input"].zero_()
    a["residual"].zero_()


def tokens(a):
    return torch.zeros(len(a["probs"]), dtype=torch.int32)


def bmm_fp8(a):
    require(a["B"].stride(-2) == 1, "B is by rows, and is taken by columns")
    return torch.zeros(*a["A"].shape[:2], a["B"].shape[2], dtype=a["dtype"])


def rope(a):
    for name in ("query", "key"):
        require(a[name].dim() == 2 and a[name].shape[1] % a["head_size"] == 0, f"{name} is {shown(a[name])}, and is taken as tokens and heads of {a['head_size']}")
        a[name].zero_()


def gdn_prefill(a):
    q, v = a["q"], a["v"]
    heads, seqs = max(q.shape[1], v.shape[1]), len(a["cu_seqlens"]) - 1
    for name in ("g", "beta"):
        require(a[name].dtype == torch.float32 and a[name].shape == (len(q), heads), f"{name} is {shown(a[name])}")
    state = (seqs, heads, q.shape[2], q.shape[2])
    require(a["initial_state"].dtype == torch.float32 and a["initial_state"].shape == state, f"initial_state is {shown(a['initial_state'])}")
    require(not a["use_qk_l2norm_in_kernel"], "the definitions do not normalise queries and keys")
    out = torch.zeros(len(q), heads, q.shape[2], dtype=q.dtype)
    return (out, torch.zeros(state)) if a["output_final_state"] else out


def gdn_decode(a):
    require(not a["use_qk_l2norm"], "the definitions do not normalise queries and keys")
    require(a["state"].dtype == torch.float32 and a["A_log"].dtype == torch.float32, "the state and A_log are float32")
    a["state"].zero_()
    return torch.zeros(a["v"].shape, dtype=torch.bfloat16), a["state"]


def moe(a):
    tokens, hidden = a["hidden_states"].shape
    w1, w2 = a["gemm1_weights"], a["gemm2_weights"]
    seen = {"num_experts": a["routing_logits"].shape[1], "local_num_experts": len(w1), "intermediate_size": w2.shape[2]}
    for name, value in seen.items():
        require(a[name] == value, f"{name} is {a[name]}, and the tensors' is {value}")
    require(w1.shape == (len(w1), 2 * w2.shape[2], hidden) and w2.shape == (len(w1), hidden, w2.shape[2]) and w1.dtype == w2.dtype == torch.float8_e4m3fn,
            f"weights are {shown(w1)} and {shown(w2)}")
    require((a["n_group"] is None) == (a["topk_group"] is None), "groups and no number of those chosen")
    require(a.get("use_routing_scales_on_input", False) == (a["routing_method_type"] == 3), "only Llama4's routing scales what goes in")
    return torch.zeros(tokens, hidden, dtype=torch.bfloat16)


def require(ok, what):
    if not ok:
        raise Broken(what)


def shuffle(a):
    require(a["input_tensor"].dtype == torch.uint8 and a["epilogue_tile_m"] == 128, "the kernel's tiles are 128 rows of bytes")
    return torch.empty_like(a["input_tensor"])


COMPUTE = {
    "bmm_fp8": bmm_fp8, "apply_rope_with_cos_sin_cache_inplace": rope, "chunk_gated_delta_rule": gdn_prefill,
    "gated_delta_rule_decode": gdn_decode, "gated_delta_rule_decode_pretranspose": gdn_decode,
    "trtllm_fp8_block_scale_moe": moe, "trtllm_fp8_per_tensor_scale_moe": moe,
    "reorder_rows_for_gated_act_gemm": lambda a: torch.empty_like(a["x"]), "shuffle_matrix_a": shuffle,
    "rmsnorm": lambda a: torch.zeros_like(a["input"]), "fused_add_rmsnorm": fused_add_rmsnorm,
    "top_k_top_p_sampling_from_probs": tokens, "top_k_sampling_from_probs": tokens, "top_p_sampling_from_probs": tokens,
}


def inputs_of(definition):
    """Small inputs, by their names."""
    unknown = [axis for axis in definition.var_axes if axis not in AXES]
    if unknown:
        raise Broken(f"this check has no length for axes {unknown}")
    made = {}
    shapes = definition.get_input_shapes(AXES)
    for (name, spec), shape, dtype in zip(definition.inputs.items(), shapes, definition.torch_input_dtypes, strict=True):
        if shape is None:
            made[name] = SCALARS.get(name, 0.088)
        elif name in WEIGHTS:
            made[name] = torch.empty(shape, dtype=dtype, device="meta")
        elif name in VALUES:
            made[name] = torch.tensor(VALUES[name], dtype=dtype)
        elif name == "kv_last_page_len":
            # Zero beyond the requests, which no page has: what is there must not be read.
            size = definition.const_axes["page_size"]
            made[name] = torch.tensor([1, size, 0][: shape[0]], dtype=dtype)
        elif dtype.is_floating_point:
            made[name] = torch.rand(shape, dtype=torch.float32).to(dtype)
        elif name == "top_k":
            made[name] = torch.full(shape, 3, dtype=dtype)
        else:
            raise Broken(f"this check has no values for input {name}")
        if shape is not None and list(made[name].shape) != list(shape):
            raise Broken(f"this check's {name} has the shape {list(made[name].shape)}, and the definition's is {shape}")
    for constraint in definition.constraints:
        if not eval(constraint, {}, {**definition.const_axes, **AXES, **made}):
            raise Broken(f"this check's inputs break {constraint}")
    return made


class Finder:
    """Imports a wheel's modules as stand-ins."""

    def __init__(self, wheel, calls):
        self._wheel, self._calls = wheel, calls

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "flashinfer" or not self._wheel.file(name):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return None  # a plain one

    def exec_module(self, module):
        module.__getattr__ = Standin(self._wheel, self._calls, module.__name__).__getattr__


@contextlib.contextmanager
def installed(wheel, calls):
    """Solutions import the stand-in, whatever is installed here."""
    def ours():
        return [name for name in sys.modules if name.partition(".")[0] == "flashinfer"]

    before = {name: sys.modules.pop(name) for name in ours()}
    finder = Finder(wheel, calls)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


def judge(wheel, definition, solution, source, calls):
    """Raises what is wrong."""
    given = inputs_of(definition)
    before = {name: value.clone() for name, value in given.items() if isinstance(value, torch.Tensor) and not value.is_meta}
    namespace = {"__name__": "solution"}
    with installed(wheel, calls):
        try:
            exec(compile(source, f"{solution.name}/main.py", "exec"), namespace)
            got = namespace[solution.get_entry_symbol()](*given.values())
        except Broken:
            raise
        except Exception as err:
            raise Broken(f"run failed: {type(err).__name__}: {err}") from err
    for name, value in before.items():
        if not torch.equal(given[name], value):
            raise Broken(f"input {name} is not what it was")
    got = list(got) if isinstance(got, (tuple, list)) else [got]
    want = [(name, list(shape), dtype) for name, shape, dtype in
            zip(definition.outputs, definition.get_output_shapes(AXES), definition.torch_output_dtypes, strict=True)]
    if len(got) != len(want):
        raise Broken(f"{len(got)} outputs, and the definition has {[name for name, _, _ in want]}")
    for value, (name, shape, dtype) in zip(got, want, strict=True):
        if not isinstance(value, torch.Tensor) or list(value.shape) != shape or value.dtype != dtype:
            raise Broken(f"output {name} is {shown(value)}, and the definition's is {str(dtype)[6:]}{shape}")


def keywords(source):
    """Each keyword of a call that is not torch's, with the source in which it has another name."""
    for i, call in enumerate(ast.walk(ast.parse(source))):
        if isinstance(call, ast.Call) and not ast.unparse(call.func).startswith("torch."):
            for j, keyword in enumerate(call.keywords):
                tree = ast.parse(source)
                changed = list(ast.walk(tree))[i].keywords[j]
                changed.arg += "_renamed"
                yield keyword.arg, ast.unparse(tree)


# What else is done to sources that have the text, and a word of what must be found.
CHANGES = [
    (".clone()", "", "is not what it was"),
    ("return_lse=True", "return_lse=False", "1 outputs"),
    ("plan(kv_indptr, ", "plan(kv_indptr.long(), ", "is int64"),
    ("plan(qo_indptr, ", "plan(qo_indptr.long(), ", "is int64"),
    ("kv_indices, ", "kv_indices.long(), ", "is int64"),
    (".to(torch.int64)", "", "output samples is int32"),
    ("q_data_type=q.dtype", "q_data_type=torch.float16", "q_data_type"),
    ("flashinfer.norm.", "flashinfer.", None),  # an alias, which is no fault
    ("flashinfer.norm.", "flashinfer.norms.", "there is no flashinfer.norms"),
    ("flashinfer.sampling.", "flashinfer.sample.", "there is no flashinfer.sample"),
    (".run(", ".runs(", "no attribute 'runs'"),
    (".contiguous().transpose(-2, -1)", ".transpose(-2, -1).contiguous().transpose(-2, -1).contiguous()", "B is by rows"),
    ("state.clone()", "state", "is not what it was"),
    (", use_qk_l2norm=False", "", "do not normalise"),
    (", output_final_state=True", "", "1 outputs"),
    ("beta=torch.sigmoid(b.float())", "beta=b", "beta is bfloat16"),
    ("int(local_expert_offset)", "local_expert_offset + 0.5", "local_expert_offset is 2.5"),
    ("num_experts=", "num_experts=1 + ", "num_experts is"),
    ("use_routing_scales_on_input=", "use_routing_scales_on_input=not ", "only Llama4's"),
    (".view(torch.uint8)", "", "128 rows of bytes"),
    (".flatten(1)", "", "taken as tokens and heads"),
    ("float(sm_scale), q_nope.dtype", "q_nope.dtype, float(sm_scale)", "sm_scale is torch.bfloat16"),
]


def broken(wheels, examples):
    """The check's own test: (how many sources were broken, what was not found)."""
    made, problems, used = 0, [], set()
    for definition, solution in examples:
        source = ast.unparse(ast.parse(solution.get_entry_source().content))  # one line a call
        # The real one complains of the name that is missing, or else of the one that is there.
        cases = [(f"{name} renamed", text, f"argument: '{name}'|unexpected keyword argument '{name}_renamed'") for name, text in keywords(source)]
        for old, new, find in CHANGES:
            head, run = source.split("def run", 1)
            body = run.split(":", 1)[1]
            if old in body:
                used.add((old, new))
                cases.append((f"{old!r} is {new!r}", f"{head}def run{run.split(':', 1)[0]}:{body.replace(old, new)}", find))
        for what, text, find in cases:
            for release, wheel in wheels.items():
                made += 1
                try:
                    judge(wheel, definition, solution, text, Counter())
                    found = None
                except Broken as err:
                    found = str(err)
                if (found is None) != (find is None) or find and not any(one in found for one in find.split("|")):
                    problems.append(f"FlashInfer {release}, {definition.name}, {what}: wanted {find!r}, found {found!r}")
    problems += [f"no source has {old!r}, which was to be broken" for old, new, _ in CHANGES if (old, new) not in used]
    return made, problems


def main(wheels, index, *releases):
    wheels = {release: Wheel(flashinfer_wheel.find(wheels, release)) for release in releases}
    lines = [json.loads(line) for line in Path(index).read_text().splitlines()]
    problems, pairs, calls = [], [], {release: Counter() for release in releases}
    examples = {}  # one of each sequence of calls, since templates are few and definitions many
    for line in lines:
        if "none" in line:
            continue
        definition = Definition.model_validate_json(Path(line["definition"]).read_text())
        try:
            solution = Solution.model_validate_json(Path(line["solution"]).read_text())
        except ValueError as err:
            problems.append(f"{definition.name}: no solution of flashinfer-bench: {err}")
            continue
        pairs.append((definition, solution))
        for release, wheel in wheels.items():
            made = Counter()
            try:
                if solution.spec.destination_passing_style or solution.definition != definition.name:
                    raise Broken("the solution is of another definition, or is called with its outputs")
                judge(wheel, definition, solution, solution.get_entry_source().content, made)
                if not made:
                    raise Broken("nothing of FlashInfer is called")
            except Broken as err:
                problems.append(f"FlashInfer {release}, {definition.name}: {err}")
            calls[release] += made
            examples.setdefault((tuple(made), "qo_indptr" in definition.inputs, "kv_last_page_len" in definition.inputs), (definition, solution))
    for release in releases:
        print(f"FlashInfer {release}: {sum(calls[release].values())} calls of {len(calls[release])} callables")
    # A judge that finds nothing anywhere would be no judge; where templates are at fault already it has shown that it can.
    changed, missed = broken(wheels, examples.values()) if not problems else (0, [])
    problems += missed
    if len(pairs) < 10:
        problems.append(f"{len(pairs)} baselines were looked at, want 10 and more")
    for problem in problems:
        print(problem)
    print(f"baselines: {len(pairs)} of {len(lines)} definitions, on {len(releases)} releases; {changed} broken sources; {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])

// Package sanitizer turns recorded kernel calls into workloads of the flashinfer-trace dataset, or rejects them with a reason.
//
// # Flow
//
//	Manifest message → definitions by digest → Convert, for each definition of the call's API:
//	  source → bind → types → variant → structure → fit → values → meaning → scale → hold → candidate
//	→ large tensors stored → one Verdict message → the manifest is acknowledged
//
// pipeline.go is the page to read first: it has the steps in order. Each step is in the file of its name, what they know by
// name is in rules.go, and every way to say no is in reject.go. sanitizer.go is the only file that knows the broker.
//
// # Rules
//
// Match (match.go)
//   - A call belongs to every definition whose fi_api tag names it, by its last component, or the last two where the tag ends
//     in a method; the module path is ignored. A call of a subclass, which the logger names by the object's own class, belongs to
//     the wrapper's definitions (fitrace.BaseFunction).
//   - It becomes a workload of those alone that it fits by all rules below.
//
// Pair (source, in pipeline.go)
//   - The worker paired run and plan, where the order of calls is known. A run of a wrapper without a plan of its own is
//     rejected, under the reason the worker noted.
//
// Implied runs (implied.go)
//   - Where only a wrapper's plans were dumped, a plan is converted as the run that follows it: the same workload, byte for byte,
//     and the same uuid. The run's tensors are made from the plan: structure as it is, element types from q_data_type,
//     kv_data_type and data_type with FlashInfer's own defaults (float16; keys like queries), and these shapes:
//     decode: a row of q a request (or q_len_per_req rows); num_qo_heads, num_kv_heads, head_dim, page_size.
//     paged prefill: rows from qo_indptr[-1]; head_dim_qk, and head_dim_vo where it was passed. Only in http-paged mode: elsewhere
//     SGLang plans this wrapper on every prefill, with kv_indptr over the cached prefix (all zeros without one), and runs it over
//     that prefix alone or not at all. Then it stands for nothing (not_implied).
//     ragged prefill: rows from qo_indptr[-1], keys from kv_indptr[-1]; head_dim_qk, and head_dim_vo if it was passed; any mode.
//     latent (MLA), decode and prefill: rows from qo_indptr[-1]; num_heads, head_dim_ckv, head_dim_kpe; any mode.
//   - The pool's size is in no plan. A workload never has it, so that only a definition in which it is constant is out.
//   - No other wrapper's plan stands for a run. fitrace.PlanSuffices says the same of a definition beforehand.
//
// Bind (bind.go, arguments.go)
//   - Logged positions get their names from the logged signature, plan's own names are mapped (indptr → kv_indptr).
//   - KV caches are a pair, a 3-D pool of token slots, or one 5-D tensor of both; latent tensors a pair or packed.
//   - An input is its parameter of the same name, or of the name the tables give, or of a name that differs in case only, or
//     by position where number and types leave one choice.
//
// Fit (fit.go)
//   - Element types, ranks and constant axes are checked on every tensor, paired or not, and on the sizes a call states as
//     numbers. Variable axes are solved from shapes; one axis has one size.
//   - --skip-const-axis-check relaxes constants that tensor parallelism divides, by whole factors; nothing else.
//   - Constraints must hold; one that cannot be evaluated is no constraint that holds (hold.go).
//
// Values (values.go, structure.go, fold.go)
//   - Prefix sums start at 0, never fall, and end where their tensor ends.
//   - kv_indices is trimmed to kv_indptr[-1]; each is below the pool's size; num_pages is the smallest that holds them.
//   - last_page_len is in 1..page_size, one a request, and of the length the definition gives it (padded with 0 where it
//     shares kv_indptr's axis).
//   - Content is row-major whatever strides were logged, as the worker promises; of another length than its shape, it is not
//     content.
//   - Token slots become pages of a larger size where each request fills aligned runs, exactly; else the call is rejected.
//
// Meaning (meaning.go)
//   - A paged run beside a ragged one is half of an attention; so is a paged run that returns its log-sum-exp and is not said to
//     be causal, whether its other half was dumped or not; so is a causal request with fewer keys than rows.
//   - A run that is marked as not causal fits no causal definition.
//   - A decode definition has one row a request.
//   - An argument that changes what is computed and that no input of the definition states is a rejection (gates.go): scales for each
//     token and head, chosen keys, state rows by index. Gates of a gated delta rule are raw or computed, as its flags say.
//   - What a definition's name states and its axes do not (topk8, ng8, ds_routing, neox) is held against the arguments.
//
// Policy (policy.go)
//   - Integers and booleans are kept, and so are a sampler's bounds (top_p, min_p); other floats are random, null shapes are
//     numbers of their own type.
//   - sm_scale, and the scale of a gated delta rule, is computed from the head's width if no dump has it. For latent attention the width is not enough (scale.go): a ragged
//     run takes the scale of the paged plans of its process, or of the model's configuration, and is rejected if there is none or
//     they disagree. No other number is derived.
//
// Identity (identity.go)
//   - A workload's uuid is version 5 of its content, and of nothing else.
//
// # Guarantees
//
// Convert is pure: the same manifest and definitions give the same bytes, in any order, on any machine. It reads no float
// tensor, changes nothing it is given, and does not panic on any manifest. Each manifest has exactly one verdict, also one that
// cannot be decoded.
//
// # What it does not do
//
// It does not pair, deduplicate or select, and knows no dump directory and no dataset directory.
package sanitizer

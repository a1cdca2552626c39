#!/usr/bin/env python3
"""Calls functions of FlashInfer's names under FlashInfer's own logger, on CPU tensors.

    logger_calls.py WHEEL

The logger is that of the wheel; it reads FLASHINFER_* from the environment, as in a server.
The functions compute nothing: the logger looks at names, signatures and arguments only. They are called as SGLang calls
them, a request batch after another, decoys between them. Prints a JSON object: how often each function was called.
"""
import json
import sys
from collections import Counter

import torch

import flashinfer_wheel

HEADS, KV_HEADS, HEAD_DIM, SLOTS = 32, 8, 128, 4096
calls = Counter()


def wrappers(logged):
    class BatchDecodeWithPagedKVCacheWrapper:
        @logged
        def __init__(self, float_workspace_buffer, kv_layout="NHD"):
            calls["BatchDecodeWithPagedKVCacheWrapper.__init__"] += 1

        @logged
        def plan(self, indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size, pos_encoding_mode="NONE",
                 window_left=-1, logits_soft_cap=None, q_data_type="float16", kv_data_type=None, o_data_type=None, data_type=None,
                 sm_scale=None, non_blocking=True, fixed_split_size=None, disable_split_kv=False):
            calls["BatchDecodeWithPagedKVCacheWrapper.plan"] += 1

        @logged
        def run(self, q, paged_kv_cache, *args, q_scale=None, k_scale=None, v_scale=None, out=None, lse=None, return_lse=False):
            calls["BatchDecodeWithPagedKVCacheWrapper.run"] += 1
            return torch.empty_like(q)

    class BatchPrefillWithPagedKVCacheWrapper:
        @logged
        def plan(self, qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len, num_qo_heads, num_kv_heads, head_dim_qk,
                 page_size, head_dim_vo=None, custom_mask=None, packed_custom_mask=None, causal=False, q_data_type="float16",
                 kv_data_type=None, non_blocking=True):
            calls["BatchPrefillWithPagedKVCacheWrapper.plan"] += 1

        @logged
        def run(self, q, paged_kv_cache, *args, k_scale=None, v_scale=None, out=None, lse=None, return_lse=False):
            calls["BatchPrefillWithPagedKVCacheWrapper.run"] += 1
            return torch.empty_like(q)

    class BatchPrefillWithRaggedKVCacheWrapper:
        @logged
        def plan(self, qo_indptr, kv_indptr, num_qo_heads, num_kv_heads, head_dim_qk, head_dim_vo=None, causal=False, q_data_type="float16",
                 kv_data_type=None):
            calls["BatchPrefillWithRaggedKVCacheWrapper.plan"] += 1

        @logged
        def run(self, q, k, v, *args, out=None, lse=None, return_lse=False):
            calls["BatchPrefillWithRaggedKVCacheWrapper.run"] += 1
            return torch.empty_like(q)

    return BatchDecodeWithPagedKVCacheWrapper, BatchPrefillWithPagedKVCacheWrapper, BatchPrefillWithRaggedKVCacheWrapper


def functions(logged):
    @logged
    def rmsnorm(input, weight, eps=1e-6, out=None, enable_pdl=None):
        calls["rmsnorm"] += 1
        return torch.empty_like(input)

    @logged
    def fused_add_rmsnorm(input, residual, weight, eps=1e-6, enable_pdl=None):
        calls["fused_add_rmsnorm"] += 1

    @logged
    def gemma_rmsnorm(input, weight, eps=1e-6, out=None, enable_pdl=None):
        calls["gemma_rmsnorm"] += 1
        return torch.empty_like(input)

    @logged
    def top_k_top_p_sampling_from_probs(probs, top_k, top_p, indices=None, filter_apply_order="top_k_first", deterministic=True):
        calls["top_k_top_p_sampling_from_probs"] += 1
        return torch.zeros(probs.shape[0], dtype=torch.int32)

    @logged
    def silu_and_mul(input, out=None, enable_pdl=None):
        calls["silu_and_mul"] += 1
        return torch.empty(input.shape[0], input.shape[1] // 2)

    return rmsnorm, fused_add_rmsnorm, gemma_rmsnorm, top_k_top_p_sampling_from_probs, silu_and_mul


def int32(values):
    return torch.tensor(values, dtype=torch.int32)


def make(wheel):
    """Makes all calls and gives how often each function was called."""
    logged = flashinfer_wheel.api_logging(wheel).flashinfer_api
    decode_class, paged_class, ragged_class = wrappers(logged)
    rmsnorm, fused_add, gemma, sample, silu = functions(logged)
    pool = tuple(torch.zeros(SLOTS, KV_HEADS, HEAD_DIM, dtype=torch.bfloat16) for _ in range(2))
    weight = torch.ones(4096, dtype=torch.bfloat16)
    decode, paged, ragged = decode_class(torch.empty(8)), paged_class(), ragged_class()
    for step, lengths in enumerate(([5, 70, 129], [6, 71, 130], [1, 64, 65, 200])):
        batch = len(lengths)
        indptr = int32([sum(lengths[:i]) for i in range(batch + 1)])
        # Slots as an allocator with pages of 64 hands them out: aligned runs, pages in no order.
        starts = [64 * (4 * i + 3 * step + 1) for i in range(batch)]
        indices = int32([start + t for start, n in zip(starts, lengths) for t in range(n)])
        ones = int32([1] * batch)
        rows = torch.zeros(batch, 4096, dtype=torch.bfloat16)
        rmsnorm(rows, weight, 1e-5)
        decode.plan(indptr, indices, ones, HEADS, KV_HEADS, HEAD_DIM, 1, data_type=torch.bfloat16, q_data_type=torch.bfloat16)
        for _ in range(2):  # layers
            decode.run(torch.zeros(batch, HEADS, HEAD_DIM, dtype=torch.bfloat16), pool)
            fused_add(rows, rows.clone(), weight, 1e-5)
        gemma(rows, weight)
        silu(rows)
        tokens = sum(lengths)
        q = torch.zeros(tokens, HEADS, HEAD_DIM, dtype=torch.bfloat16)
        # Never one tensor twice: the older loggers do not write a call whose arguments share memory.
        paged.plan(indptr, indptr.clone(), torch.cat([indices, int32([0] * 256)]), ones, HEADS, KV_HEADS, HEAD_DIM, 1,
                   q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16)
        paged.run(q, pool)
        kv = torch.zeros(tokens, KV_HEADS, HEAD_DIM, dtype=torch.bfloat16)
        ragged.plan(indptr, indptr.clone(), HEADS, KV_HEADS, HEAD_DIM, q_data_type=torch.bfloat16)
        ragged.run(q, kv, kv.clone())
        sample(torch.zeros(batch, 128256), int32([40] * batch), torch.full((batch,), 0.9), filter_apply_order="joint")
    return dict(calls)


if __name__ == "__main__":
    print(json.dumps(make(sys.argv[1])))

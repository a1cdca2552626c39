    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace(q.device), kv_layout="NHD", use_tensor_cores={{.TensorCores}})
    last_page_len = {{if .Has "kv_last_page_len"}}{{.LastPageLen}}{{else}}torch.ones_like(kv_indptr[1:]){{end}}
    wrapper.plan(
        kv_indptr, kv_indices, last_page_len, {{.Axis "num_qo_heads"}}, {{.Axis "num_kv_heads"}}, {{.Axis "head_dim"}}, {{.Axis "page_size"}},
        q_data_type=q.dtype, kv_data_type=k_cache.dtype, sm_scale=float(sm_scale),
    )
{{- if .Returns "lse"}}
    return wrapper.run(q, (k_cache, v_cache), return_lse=True)
{{- else}}
    return wrapper.run(q, (k_cache, v_cache))
{{- end}}

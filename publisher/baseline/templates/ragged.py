    wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace(q.device), kv_layout="NHD")
    wrapper.plan(
        qo_indptr, kv_indptr, {{.Axis "num_qo_heads"}}, {{.Axis "num_kv_heads"}}, {{.Width "q"}},
{{- if ne (.Width "q") (.Width "v")}}
        head_dim_vo={{.Width "v"}},
{{- end}}
        causal={{.Causal}}, sm_scale=float(sm_scale), q_data_type=q.dtype, kv_data_type=k.dtype,
    )
{{- if .Returns "lse"}}
    return wrapper.run(q, k, v, return_lse=True)
{{- else}}
    return wrapper.run(q, k, v)
{{- end}}

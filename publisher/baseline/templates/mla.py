    wrapper = flashinfer.mla.BatchMLAPagedAttentionWrapper(workspace(q_nope.device))
{{- if not (.Has "qo_indptr")}}
    qo_indptr = torch.arange(q_nope.shape[0] + 1, dtype=torch.int32, device=q_nope.device)
{{- end}}
    pages = kv_indptr[1:] - kv_indptr[:-1]
    kv_len = {{if .Has "kv_last_page_len"}}torch.where(pages > 0, (pages - 1) * {{.Axis "page_size"}} + {{.LastPageLen}}, 0).to(torch.int32){{else}}pages * {{.Axis "page_size"}}{{end}}
    wrapper.plan(
        qo_indptr, kv_indptr, kv_indices, kv_len, {{.Axis "num_qo_heads"}}, {{.Axis "head_dim_ckv"}}, {{.Axis "head_dim_kpe"}}, {{.Axis "page_size"}},
        {{.Causal}}, float(sm_scale), q_nope.dtype, ckv_cache.dtype,
    )
{{- if .Returns "lse"}}
    return wrapper.run(q_nope, q_pe, ckv_cache, kpe_cache, return_lse=True)
{{- else}}
    return wrapper.run(q_nope, q_pe, ckv_cache, kpe_cache)
{{- end}}

    return flashinfer.fused_moe.trtllm_fp8_block_scale_moe(
        routing_logits, {{if .Has "routing_bias"}}routing_bias{{else}}None{{end}}, hidden_states, hidden_states_scale,
        gemm1_weights, gemm1_weights_scale, gemm2_weights, gemm2_weights_scale,
        {{template "experts" .}}
    )

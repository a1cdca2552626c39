    # The kernel wants the weights' rows in an order of its own. Engines lay them out once, when they load a model; here it is part of the call.
    up_gate = [flashinfer.reorder_rows_for_gated_act_gemm(w) for w in gemm1_weights.view(torch.uint8)]
    return flashinfer.fused_moe.trtllm_fp8_per_tensor_scale_moe(
        routing_logits, {{if .Has "routing_bias"}}routing_bias{{else}}None{{end}}, hidden_states,
        shuffled(up_gate).view(gemm1_weights.dtype), output1_scales_scalar, output1_scales_gate_scalar,
        shuffled(gemm2_weights.view(torch.uint8)).view(gemm2_weights.dtype), output2_scales_scalar,
        use_routing_scales_on_input={{.ScalesInput}}, {{template "experts" .}}
    )


def shuffled(experts):
    """Each expert's rows in the order in which the kernel's tiles of 128 read them."""
    return torch.stack([flashinfer.shuffle_matrix_a(w, 128) for w in experts])

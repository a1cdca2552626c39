    # FlashInfer takes the right matrices by columns.
    columns = B.transpose(-2, -1).contiguous().transpose(-2, -1)
    return flashinfer.gemm.bmm_fp8(A, columns, A_scale, B_scale, torch.{{.Output 0}})

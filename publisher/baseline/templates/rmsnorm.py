    return flashinfer.norm.rmsnorm(hidden_states, weight, eps={{.Epsilon}})

{{define "experts" -}}
num_experts={{.Experts}}, local_num_experts={{.LocalExperts}}, local_expert_offset={{if .Has "local_expert_offset"}}int(local_expert_offset){{else}}0{{end}},
        top_k={{.TopK}}, n_group={{.Groups}}, topk_group={{.TopGroups}}, routing_method_type={{.Routing}},
        routed_scaling_factor={{if .Has "routed_scaling_factor"}}float(routed_scaling_factor){{else}}None{{end}}, intermediate_size={{.Axis "intermediate_size"}},
{{- end}}

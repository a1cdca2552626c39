package sglang

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSettle_Ranks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		release, model, user string
		tp                   int
		gpus, attention      int
		open                 string
	}{
		{"0.5.16", "", "", 4, 4, 4, ""},
		{"0.5.16", "", "--pp-size 2", 4, 8, 4, ""},
		{"0.5.16", "", "--pp=2", 4, 8, 4, ""},
		{"0.5.16", "", "--pipeline-parallel-size=2", 4, 8, 4, ""},
		{"0.5.8", "", "--pipeline-parallel-size 2", 4, 8, 4, ""},
		{"0.5.16", "", "--pipeline-par|2", 4, 8, 4, ""},
		{"0.5.16", "", "--dp-size 2", 1, 2, 1, ""},
		{"0.5.16", "", "--data-parallel-size|2|--pp-size=3", 2, 12, 2, ""},
		{"0.5.16", "--dp-size 2", "", 1, 2, 1, ""},
		{"0.5.16", "--dp-size 2", "--dp-size 4", 1, 4, 1, ""},
		{"0.5.16", "", "--dp-size 4|--enable-dp-attention", 8, 8, 2, ""},
		{"0.5.23", "", "--dp-size 4|--enable-dp-attention", 8, 8, 2, ""},
		{"0.5.23", "--enable-dp-attention", "--dp-size 4", 8, 8, 2, ""},
		{"0.5.23", "--dp-size 4", "--enable-dp-attention", 8, 8, 2, ""},
		{"0.5.20", "", "--attn-dp-size 8", 8, 8, 1, ""},
		{"0.5.23", "", "--attention-data-parallel-size 8", 8, 8, 1, ""},
		{"0.5.23", "", "--attn-cp-size 2", 8, 8, 4, ""},
		{"", "", "--dcp-size 2", 8, 8, 8, "--dcp-size"},
		{"", "", "--moe-a2a-backend deepep", 8, 8, 8, "--moe-a2a-backend"},
		{"", "", "--moe-a2a-backend none", 8, 8, 8, ""},
	} {
		split := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, "|")
		}
		s, err := Settle(tc.release, false, split(tc.model), split(tc.user))
		require.NoError(t, err, "%+v", tc)
		r := s.Ranks(tc.tp, 1)
		require.Equal(t, tc.gpus, r.GPUs(), "%+v", tc)
		require.Equal(t, tc.attention, r.AttentionTP(), "%+v", tc)
		require.Equal(t, tc.open, strings.Join(r.Open, " "), "%+v", tc)
	}
	_, err := Settle("0.5.16", false, nil, []string{"--no-such"})
	require.ErrorContains(t, err, "--no-such is not an option")
	_, err = Settle("0.9", false, nil, nil)
	require.ErrorContains(t, err, "outside the tested range")
}

func TestLaunch_FlagsOutsideTheLease_AreRefused(t *testing.T) {
	t.Parallel()
	for flag, refused := range map[string]bool{
		"--base-gpu-id 1": true, "--base-gpu-id=4": true, "--base-gpu 1": true, "--base-gpu-id 0": false,
		"--gpu-id-step 2": true, "--gpu-id-step 1": false,
		"--nnodes 2": true, "--nnodes 1": false, "--node-rank 1": true, "--node-rank 0": false,
		"--dist-init-addr 10.0.0.1:5000": true, "--nccl-init-addr 10.0.0.1:5000": true,
		"--device cpu": true, "--device cuda": false,
		"--max-ep-size 16": true, "--elastic-ep-join-mode scale": true, "--decoupled-spec-role drafter": true, "--decoupled-spec-role null": false,
		"--pp-size 0": true, "--dp-size -1": true, "--dp-size 999999999999": true, "--attn-cp-size 1025": true, "--pp-size 2": false,
		"--use-ray": true, "--encoder-urls http://a": true,
	} {
		for _, layer := range []func(*Intent){func(in *Intent) { in.Extra = []string{flag} }, func(in *Intent) { in.ModelFlags = []string{flag} }} {
			in := Intent{Mode: HTTPRagged, ModelPath: "m", TP: 2}
			layer(&in)
			_, err := in.Launch("0.5.23")
			if !refused {
				require.NoError(t, err, flag)
				continue
			}
			var f *FlagError
			require.ErrorAs(t, err, &f, flag)
			require.Contains(t, f.Flag, "--", flag)
		}
	}
}

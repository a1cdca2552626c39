package sanitizer_test

import (
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// BenchmarkConvert shows what a manifest costs: one of a plain function, one with a plan in the message, and one with a
// megabyte of indices, whose digest is most of the time.
func BenchmarkConvert(b *testing.B) {
	large := largeDecode()
	values := make([]int64, 1<<18)
	for i := range values {
		values[i] = int64(i) % 100003
	}
	data := bytesOf("int32", values...)
	large.Plan.Tensors[1] = proto.Tensor{Key: "arg_2", DType: "int32", Shape: []int64{1 << 18}, Digest: digest(data)}
	large.Plan.Tensors[0] = i32("arg_1", 0, 100, 200, 1<<18-256)
	defs := []*fitrace.Definition{definition(b, decodePS1), definition(b, bmm), definition(b, rmsnorm)}
	for name, m := range map[string]*proto.Manifest{"function": manifest(bmmCall()), "decode": sglangDecode(), "large": large} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out, err := sanitizer.Convert(m, defs, func(string) ([]byte, error) { return data, nil })
				if err != nil || len(out.Verdict.Candidates) != 1 {
					b.Fatal(err, out.Verdict.Rejections)
				}
			}
		})
	}
}

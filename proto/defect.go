package proto

// The reasons of a Defect: why a dump directory cannot become a workload whatever the definition. They are rejection codes
// like the sanitizer's own, kept here because the gpuworker finds them and the sanitizer reports them.
const (
	DefectIncomplete = "incomplete_dump" // the writer stopped before the inputs or their record were whole
	DefectCorrupt    = "corrupt_dump"    // record or tensor file contradicts itself or its format
	DefectUnreadable = "unreadable_dump" // the system refused to read it: permissions, input/output errors
	DefectVanished   = "vanished_dump"   // it was listed, and gone when it was to be read
	DefectTooLarge   = "oversized_dump"  // the call alone, without tensor bytes, is over what a message may hold
	DefectNoTraffic  = "before_traffic"  // made before the first request of ours: warm-up, autotune, graph capture
)

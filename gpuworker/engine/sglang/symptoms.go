package sglang

import (
	"regexp"

	"github.com/tracefleet/tracefleet/proto"
)

// symptom is a line of the log that says why an engine failed, and what to do about it.
type symptom struct {
	line  *regexp.Regexp
	code  proto.Code
	what  string // went wrong, in a few words
	hint  string
	again bool // the same work may succeed later, or elsewhere
}

// symptoms are in the order in which they explain: the first one seen is the cause, what comes later in the list tends to
// follow from it. Strings of SGLang were read in 0.5.8, 0.5.12, 0.5.16 and 0.5.23; those of CUDA, NCCL and Python are their own.
var symptoms = []*symptom{
	{
		line: regexp.MustCompile(`: error: (?:unrecognized arguments|ambiguous option|argument |the following arguments are required|invalid choice)`),
		code: proto.CodeBadServerFlag, what: "this SGLang does not take its command line",
		hint: "collect with --plan-only prints the command line; correct the flag by --extra-server-flag, or in the model catalogue",
	}, {
		line: regexp.MustCompile(`TypeError: .*unexpected keyword argument|Unexpected keyword argument`),
		code: proto.CodeBadServerFlag, what: "this SGLang's Engine does not take a keyword",
		hint: "collect with --plan-only prints the keywords; correct the flag by --extra-server-flag, or in the model catalogue",
	}, {
		line: regexp.MustCompile(`(?:flashinfer[_-]python|sglang-kernel|sgl-kernel) (?:with minimum required version|is installed with version)`),
		code: proto.CodeEnvironment, what: "a package is older than this SGLang asks for",
		hint: "`tracefleet doctor` shows the versions; `tracefleet gpuworker setup` makes an environment whose versions fit each other",
	}, {
		line: regexp.MustCompile(`^\s*(?:ModuleNotFoundError|ImportError): `),
		code: proto.CodeEnvironment, what: "a Python package is missing or does not fit the others",
		hint: "`tracefleet doctor` names what is missing; `tracefleet gpuworker setup` makes an environment",
	}, {
		line: regexp.MustCompile(`(?i)No such file or directory: '?(?:ninja|nvcc|c\+\+|g\+\+|gcc)|could not find (?:nvcc|CUDA)|CUDA_HOME environment variable is not set|ninja: build stopped`),
		code: proto.CodeEnvironment, what: "FlashInfer could not build its kernels",
		hint: "the node needs ninja, a C++ compiler and CUDA's nvcc (CUDA_HOME); `tracefleet doctor` says which is missing",
	}, {
		line: regexp.MustCompile(`(?i)No CUDA GPUs are available|Found no NVIDIA driver|CUDA driver version is insufficient|CUDA error: (?:invalid device ordinal|no kernel image)|Torch not compiled with CUDA|No accelerator .* is available`),
		code: proto.CodeEnvironment, what: "torch cannot use the GPUs",
		hint: "`nvidia-smi` and `python -c 'import torch; torch.cuda.init()'` must work for the worker's user; --gpus must name devices that are there", again: true,
	}, {
		line: regexp.MustCompile(`(?i)cudaErrorStreamCapture|operation not permitted when stream is capturing|operation would make the legacy stream depend on a capturing|Capture cuda graph failed|Fail(?:ed)? when using backend: .* for prefill runner`),
		code: proto.CodeGraphCapture, what: "CUDA graphs were to be captured, which dumping forbids",
		hint: "drop the flag that turns graphs on: by default both phases run without",
	}, {
		line: regexp.MustCompile(`Not enough memory\. Please try to increase --mem-fraction-static`),
		code: proto.CodeOutOfMemory, what: "the weights leave no GPU memory for a KV pool",
		hint: "raise --mem-fraction-static by --extra-server-flag, use more GPUs (--tp), or see whether another process holds memory (`nvidia-smi`)",
	}, {
		line: regexp.MustCompile(`Out of memory\. Try to lower your batch size`),
		code: proto.CodeOutOfMemory, what: "the KV pool cannot hold the batch",
		hint: "raise --pool-tokens, or lower --batch-sizes, --isl or --osl",
	}, {
		line: regexp.MustCompile(`(?i)(?:torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED)`),
		code: proto.CodeOutOfMemory, what: "GPU memory ran out",
		hint: "dumping needs room of its own: lower --mem-fraction-static (by --extra-server-flag) or --pool-tokens, or use more GPUs (--tp)", again: true,
	}, {
		line: regexp.MustCompile(`Duplicate GPU detected`),
		code: proto.CodeNCCL, what: "NCCL refuses two ranks on one GPU",
		hint: "use as many GPUs as ranks; --base-gpu-id and --gpu-id-step of the server must not be set",
	}, {
		line: regexp.MustCompile(`NCCL error|ncclSystemError|ncclUnhandledCudaError|ncclInternalError|ncclInvalidUsage|ncclRemoteError|ProcessGroupNCCL.*(?:timeout|Timeout|timed out)|DistBackendError`),
		code: proto.CodeNCCL, what: "communication between the ranks failed",
		hint: "NCCL_DEBUG=INFO in the worker's environment makes NCCL say more; are all of --gpus on one NVLink domain, and /dev/shm large enough?", again: true,
	}, {
		line: regexp.MustCompile(`watchdog timeout \(`),
		code: proto.CodeWatchdog, what: "a forward pass took longer than SGLang's watchdog lets it",
		hint: "dumping large pools takes long: lower --pool-tokens, use --dump plan, or raise --watchdog-timeout by --extra-server-flag", again: true,
	}, {
		line: regexp.MustCompile(`No space left on device|Disk quota exceeded|OSError: \[Errno 28\]`),
		code: proto.CodeDiskFull, what: "the node has no disk space left",
		hint: "free space in the worker's work directory and in the caches below it, or lower --dump-quota", again: true,
	}, {
		line: regexp.MustCompile(`(?i)address already in use|port \d+ is (?:already in use|not available)`),
		code: proto.CodeEngineFailed, what: "the server's port is taken",
		hint: "leave the port to the worker (no --sglang-port), or choose a free one", again: true,
	}, {
		line: regexp.MustCompile(`GatedRepoError|401 Client Error|403 Client Error|Access to model .* is restricted`),
		code: proto.CodeEnvironment, what: "the Hugging Face Hub does not give the model to this node",
		hint: "log in on the node (`hf auth login`) as a user who may read the model, or name a local copy by --model-path",
	}, {
		line: regexp.MustCompile(`is not a local folder and is not a valid model identifier|RepositoryNotFoundError|LocalEntryNotFoundError|does not appear to have a file named|Cannot find any model weights|FileNotFoundError: .*config\.json`),
		code: proto.CodeBadCollection, what: "the model was not found",
		hint: "--model-path must name a directory of this node or a model of the Hub, whole with config and weights",
	}, {
		line: regexp.MustCompile(`(?:must be divisible by|is not divisible by).*(?:tensor parallel|tp_size|tp size|world_size)|(?:tp_size|tensor parallel).*(?:must be divisible|not divisible)`),
		code: proto.CodeBadCollection, what: "the model cannot be split over so many ranks",
		hint: "choose a --tp that divides the model's heads and layers' widths",
	}, {
		line: regexp.MustCompile(`\(exit code: -9\)|crashed with exit code -9`),
		code: proto.CodeOutOfMemory, what: "the system killed a rank, most likely for host memory",
		hint: "`dmesg -T | grep -i oom` shows it; loading weights needs host memory too", again: true,
	},
}

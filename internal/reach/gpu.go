package reach

import (
	"regexp"
	"strings"
)

// capabilities are the words that GPU names have, with their compute capability times ten. The first that a name has decides.
var capabilities = []struct {
	words      *regexp.Regexp
	capability int
}{
	{words(`gb10|dgx spark`), 121},
	{words(`blackwell ultra|g?b300`), 103},
	{words(`g?b[12]00`), 100},
	{words(`rtx pro \d+|rtx \d+ blackwell|blackwell server|rtx 50[5-9]0`), 120},
	{words(`thor`), 110},
	{words(`g?h[12]00|h20|h800`), 90},
	{words(`l4|l20|l40s?|l2|rtx \d+ ada|ada|rtx 40[5-9]0`), 89},
	{words(`orin`), 87},
	{words(`a100|a800|a30`), 80},
	{words(`a2|a10g?|a16|a40|rtx a\d+|rtx 30[5-9]0`), 86},
	{words(`t4|rtx 20[5-8]0|quadro rtx \d+|titan rtx`), 75},
	{words(`v100|titan v`), 70},
}

func words(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?:^| )(?:` + pattern + `)(?: |$)`)
}

var notWords = regexp.MustCompile(`[^a-z0-9]+`)

// Capability gives the compute capability of a GPU, times ten, by the name nvidia-smi gives it: 90 for "NVIDIA H100 80GB HBM3".
// 0: not known.
func Capability(gpuName string) int {
	name := strings.TrimSpace(notWords.ReplaceAllString(strings.ToLower(gpuName), " "))
	for _, c := range capabilities {
		if c.words.MatchString(name) {
			return c.capability
		}
	}
	return 0
}

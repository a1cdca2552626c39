package fidump

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseSignature(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "",
		"()":                    "",
		"nonsense":              "",
		"(a, b)":                "a b",
		"(a, b":                 "a b",
		"(a, /, b, *, c) -> d":  "a b | c",
		"(self, *args, c=1)":    "self + | c=1",
		"(a, **kwargs) -> None": "a",
		"(a: Union[x, Tuple[y, z]] = None, *, b: Dict[str, int] = {'k': 1, 'l': 2})": "a=None | b={'k': 1, 'l': 2}",
		"(a: Literal['x', 'y'] = 'x)', b=\"(,\", c='it\\'s, no')":                    "a='x)' b=\"(,\" c='it\\'s, no'",
		"(a: m.Kind = <Kind.A: 1>, b: float = 1e-06, c=(1, 2), d: int = -1)":         "a=<Kind.A: 1> b=1e-06 c=(1, 2) d=-1",
		"(a:int=3,b= 4)": "a=3 b=4",
	} {
		s := ParseSignature(text)
		var parts []string
		for _, p := range s.Positional {
			parts = append(parts, showParam(p))
		}
		if s.VarArgs {
			parts = append(parts, "+")
		}
		if len(s.Named) > 0 {
			parts = append(parts, "|")
		}
		for _, p := range s.Named {
			parts = append(parts, showParam(p))
		}
		if got := strings.Join(parts, " "); got != want {
			t.Errorf("%s\nread as %s\nwant    %s", text, got, want)
		}
	}
}

func showParam(p Param) string {
	if p.HasDefault {
		return fmt.Sprintf("%s=%s", p.Name, p.Default)
	}
	return p.Name
}

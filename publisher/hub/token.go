package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Token is an access token and where it was found. It prints as its source only; Value must go to Options and nowhere else.
type Token struct {
	Value  string // "" where there is none
	Source string // such as HF_TOKEN, or a file's name
}

// String implements fmt.Stringer without the value.
func (t Token) String() string {
	if t.Value == "" {
		return "no token"
	}
	return "token of " + t.Source
}

// GoString implements fmt.GoStringer without the value.
func (t Token) GoString() string { return "hub.Token{" + t.String() + "}" }

// MarshalText implements encoding.TextMarshaler without the value, so that JSON and logs have none either.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// FindToken looks where the official client looks, in its order: HF_TOKEN, HUGGING_FACE_HUB_TOKEN, and the file that `hf auth login`
// writes (HF_TOKEN_PATH, or token in HF_HOME). No token is no error. It fails for HF_OIDC_RESOURCE, which asks for tokens that are
// made for one CI job, and for a file that cannot be read.
func FindToken(getenv func(string) string) (Token, error) {
	if getenv("HF_OIDC_RESOURCE") != "" {
		return Token{}, errors.New("HF_OIDC_RESOURCE is set, and keyless tokens are not supported: unset it and give an access token in HF_TOKEN")
	}
	if isTrue(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return Token{}, nil
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if getenv(name) == "" {
			continue
		}
		// As there, a variable that holds only blanks ends the search among variables.
		if v := clean(getenv(name)); v != "" {
			return Token{Value: v, Source: name}, nil
		}
		break
	}
	file := tokenFile(getenv)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, nil
	}
	if err != nil {
		return Token{}, fmt.Errorf("read the Hub's token: %w", err)
	}
	if v := clean(string(data)); v != "" {
		return Token{Value: v, Source: file}, nil
	}
	return Token{}, nil
}

func clean(v string) string {
	return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(v))
}

// tokenFile gives the file that holds the token of who is logged in.
func tokenFile(getenv func(string) string) string {
	user := getenv("HOME")
	if user == "" {
		user, _ = os.UserHomeDir()
	}
	if isTrue(getenv("HUGGINGFACE_CO_STAGING")) {
		return filepath.Join(user, ".cache", "huggingface_staging", "token")
	}
	expand := func(p string) string {
		if p == "~" || strings.HasPrefix(p, "~/") {
			p = user + p[1:]
		}
		return os.Expand(p, getenv)
	}
	if p := getenv("HF_TOKEN_PATH"); p != "" {
		return expand(p)
	}
	home := getenv("HF_HOME")
	if home == "" {
		cache := getenv("XDG_CACHE_HOME")
		if cache == "" {
			cache = filepath.Join(user, ".cache")
		}
		home = filepath.Join(cache, "huggingface")
	}
	return expand(filepath.Join(home, "token"))
}

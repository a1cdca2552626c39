package hub

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindToken(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	standard := write(".cache/huggingface/token", "hf_file\r\n")
	named := write("elsewhere/mytoken", " hf_named ")
	inHome := write("hfhome/token", "hf_home")
	xdg := write("xdg/huggingface/token", "hf_xdg")
	staging := write(".cache/huggingface_staging/token", "hf_staging")
	blank := write("blank", "\n")
	for _, c := range []struct {
		name          string
		env           map[string]string
		value, source string
		fails         bool
	}{
		{"the standard file", nil, "hf_file", standard, false},
		{"the variable first", map[string]string{"HF_TOKEN": "hf_env\n", "HUGGING_FACE_HUB_TOKEN": "hf_old"}, "hf_env", "HF_TOKEN", false},
		{"the older variable", map[string]string{"HUGGING_FACE_HUB_TOKEN": "hf_old"}, "hf_old", "HUGGING_FACE_HUB_TOKEN", false},
		{"a variable of blanks is none, and ends the search among variables", map[string]string{"HF_TOKEN": " ", "HUGGING_FACE_HUB_TOKEN": "hf_old"}, "hf_file", standard, false},
		{"a file that is named", map[string]string{"HF_TOKEN_PATH": "~/elsewhere/mytoken"}, "hf_named", named, false},
		{"with a variable in its name", map[string]string{"HF_TOKEN_PATH": "$HOME/elsewhere/${X}token", "X": "my"}, "hf_named", named, false},
		{"the client's home", map[string]string{"HF_HOME": "~/hfhome"}, "hf_home", inHome, false},
		{"the user's cache", map[string]string{"XDG_CACHE_HOME": filepath.Join(home, "xdg")}, "hf_xdg", xdg, false},
		{"staging has its own", map[string]string{"HUGGINGFACE_CO_STAGING": "1"}, "hf_staging", staging, false},
		{"not there", map[string]string{"HF_TOKEN_PATH": "/does/not/exist"}, "", "", false},
		{"empty", map[string]string{"HF_TOKEN_PATH": blank}, "", "", false},
		{"not wanted", map[string]string{"HF_HUB_DISABLE_IMPLICIT_TOKEN": "yes", "HF_TOKEN": "hf_env"}, "", "", false},
		{"not readable", map[string]string{"HF_TOKEN_PATH": home}, "", "", true},
		{"keyless", map[string]string{"HF_OIDC_RESOURCE": "datasets/a/b", "HF_TOKEN": "hf_env"}, "", "", true},
	} {
		token, err := FindToken(func(name string) string {
			if name == "HOME" {
				return home
			}
			return c.env[name]
		})
		if token.Value != c.value || token.Source != c.source || (err != nil) != c.fails {
			t.Errorf("%s: %q of %q, %v; want %q of %q", c.name, token.Value, token.Source, err, c.value, c.source)
		}
	}
}

func TestToken_PrintsWithoutItsValue(t *testing.T) {
	t.Parallel()
	token := Token{Value: "hf_secret", Source: "HF_TOKEN"}
	data, err := json.Marshal(map[string]any{"token": token, "pointer": &token})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s %q %x", token, token, token, token, token, token), fmt.Sprint(&token), string(data)} {
		if strings.Contains(s, "secret") || strings.Contains(s, fmt.Sprintf("%x", "secret")) || s == "" {
			t.Errorf("prints as %s", s)
		}
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  map[string]string
		want string
		off  bool
	}{
		{nil, "https://huggingface.co", false},
		{map[string]string{"HF_ENDPOINT": "http://127.0.0.1:8000//"}, "http://127.0.0.1:8000", false},
		{map[string]string{"HF_ENDPOINT": "http://"}, "http://", false},
		{map[string]string{"HF_ENDPOINT": "/"}, "/", false},
		{map[string]string{"HUGGINGFACE_CO_STAGING": "true"}, "https://hub-ci.huggingface.co", false},
		{map[string]string{"HUGGINGFACE_CO_STAGING": "0", "HF_HUB_OFFLINE": "ON"}, "https://huggingface.co", true},
	} {
		getenv := func(name string) string { return c.env[name] }
		if got := Endpoint(getenv); got != c.want {
			t.Errorf("%v: %s, want %s", c.env, got, c.want)
		}
		if got := Offline(getenv); got != c.off {
			t.Errorf("%v: offline is %t", c.env, got)
		}
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{Endpoint: "huggingface.co"}, {Endpoint: "ftp://huggingface.co"}, {Endpoint: "https://me:secret@huggingface.co"},
		{Endpoint: "https://huggingface.co?secret=1"}, {Endpoint: "https://me:secret@hu\x00b"}, {Token: "hf_sec ret"}, {Token: "hf_secrét"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "secr") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestDataset_ChecksTheID(t *testing.T) {
	t.Parallel()
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a/b", "flashinfer-ai/flashinfer-trace", "A_1/x.y-z"} {
		if r, err := c.Dataset(id); err != nil || r.ID() != id {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{"", "a", "a/", "/b", "a/b/c", "a/b--c", "a/b..c", "a/b.git", "a/-b", "a/b.", "a b/c", "../c", "a/b%2Fc", "a/" + strings.Repeat("x", 97)} {
		if _, err := c.Dataset(id); err == nil {
			t.Errorf("%s is taken", id)
		}
	}
}

package pyenv

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/execfile"
	"github.com/tracefleet/tracefleet/proto"
)

func code(t *testing.T, err error) proto.Code {
	t.Helper()
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	return f.Code
}

// executable writes a script that answers as an interpreter would.
func executable(t *testing.T, path, script string) string {
	t.Helper()
	return execfile.Write(t, path, "#!/bin/sh\n"+script)
}

func TestFind(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", filepath.Join(home, "bin"))
	for _, v := range []string{"CONDA_EXE", "CONDA_ROOT", "MAMBA_ROOT_PREFIX"} {
		t.Setenv(v, "")
	}
	own := executable(t, filepath.Join(home, "own", "python"), "")
	inRoot := executable(t, filepath.Join(home, "miniconda3", "envs", "sglang", "bin", "python"), "")
	listed := executable(t, filepath.Join(home, "elsewhere", "serving", "bin", "python"), "")
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".conda"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".conda", "environments.txt"), []byte(filepath.Join(home, "elsewhere", "serving")+"\n/gone\n"), 0o644))
	made := filepath.Join(home, "made")
	executable(t, interpreter(made), "")

	for name, c := range map[string]struct {
		wish Wish
		want string
	}{
		"named":           {Wish{Python: own}, own},
		"conda, by root":  {Wish{CondaEnv: "sglang"}, inRoot},
		"conda, listed":   {Wish{CondaEnv: "serving"}, listed},
		"conda, by place": {Wish{CondaEnv: filepath.Join(home, "elsewhere", "serving")}, listed},
	} {
		got, err := Find(c.wish)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}

	for name, c := range map[string]struct {
		wish Wish
		says string
	}{
		"two wishes":        {Wish{Python: own, CondaEnv: "sglang"}, "--conda-env"},
		"no such file":      {Wish{Python: filepath.Join(home, "nothing")}, "nothing"},
		"no such conda":     {Wish{CondaEnv: "absent"}, "sglang"}, // and what there is
		"none at all":       {Wish{Dir: made}, "setup"},           // an interpreter is there, the setup never finished
		"a directory of it": {Wish{Python: filepath.Join(home, "own")}, "own"},
	} {
		_, err := Find(c.wish)
		require.Equal(t, proto.CodeEnvironment, code(t, err), name)
		require.ErrorContains(t, err, c.says, name)
	}

	require.NoError(t, writeRecord(made, record{Finished: "2026-11-25T00:00:00Z"}))
	got, err := Find(Wish{Dir: made})
	require.NoError(t, err)
	require.Equal(t, interpreter(made), got)
}

func TestProbe(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on the PATH")
	}
	report, err := Probe(t.Context(), python)
	require.NoError(t, err)
	require.Regexp(t, `^3\.\d+\.\d+$`, report.Version)
	require.NotEmpty(t, report.Site)

	dir := t.TempDir()
	for name, c := range map[string]struct{ script, says string }{
		"fails":        {"echo Traceback >&2; echo 'ImportError: no encodings' >&2; exit 1", "no encodings"},
		"answers else": {"echo hello", "hello"},
	} {
		_, err := Probe(t.Context(), executable(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")), c.script))
		require.Equal(t, proto.CodeEnvironment, code(t, err), name)
		require.ErrorContains(t, err, c.says, name)
	}
	// What a sitecustomize prints first does not spoil the answer.
	got, err := Probe(t.Context(), executable(t, filepath.Join(dir, "noisy"), `echo loading; echo '{"version":"3.12.1","packages":{"sglang":"0.5.16"}}'`))
	require.NoError(t, err)
	require.Equal(t, "0.5.16", got.Packages["sglang"])
}

// Neither a probed interpreter nor an installer has what opens the Hub or the broker, unless it is named for it.
func TestSecrets(t *testing.T) {
	t.Setenv("HF_TOKEN", "secret")
	t.Setenv("HUGGING_FACE_HUB_TOKEN", "secret")
	t.Setenv("NATS_CREDS", "secret")
	python := executable(t, filepath.Join(t.TempDir(), "python"), `env > "$0.env"; echo '{"version":"3.12.1"}'`)
	had := func() string {
		env, err := os.ReadFile(python + ".env")
		require.NoError(t, err)
		require.Contains(t, string(env), "PATH=")
		return string(env)
	}
	_, err := Probe(t.Context(), python)
	require.NoError(t, err)
	require.NotContains(t, had(), "secret")
	require.NoError(t, execute(t.Context(), func(string) {}, python))
	require.NotContains(t, had(), "secret")
	_, err = Probe(t.Context(), python, "HF_TOKEN=hf_for_models")
	require.NoError(t, err)
	require.Contains(t, had(), "HF_TOKEN=hf_for_models")
}

// installer stands for uv and pip: it keeps what it was told, fails where it is told to, and "installs" by writing the
// environment's interpreter, which then reports the packages.
type installer struct {
	t      *testing.T
	dir    string
	ran    []string
	failAt string
	cut    context.CancelFunc
}

func (in *installer) run(ctx context.Context, say func(string), argv ...string) error {
	line := strings.Join(argv, " ")
	in.ran = append(in.ran, line)
	say("working")
	if in.failAt != "" && strings.Contains(line, in.failAt) {
		if in.cut != nil {
			in.cut()
			return ctx.Err()
		}
		say("ERROR: no matching distribution")
		return errors.New("exit status 1")
	}
	if strings.Contains(line, "venv") {
		executable(in.t, interpreter(in.dir), `echo '{"version":"3.12.3","packages":{"sglang":"0.5.16","flashinfer-python":"0.6.14","torch":"2.11.0"}}'`)
	}
	return nil
}

func TestSetup_ResumesWhereItStopped(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "env")
	spec := Spec{Dir: dir, SGLang: "0.5.16", FlashInfer: "0.6.14", UV: "/usr/bin/uv"}
	var said []string
	say := func(line string) { said = append(said, line) }

	in := &installer{t: t, dir: dir, failAt: "flashinfer-python=="}
	_, err := Setup(t.Context(), spec, say, in.run)
	require.Equal(t, proto.CodeEnvironment, code(t, err))
	require.ErrorContains(t, err, "no matching distribution")
	require.Len(t, in.ran, 3)
	require.False(t, finished(dir))

	in = &installer{t: t, dir: dir}
	report, err := Setup(t.Context(), spec, say, in.run)
	require.NoError(t, err)
	require.Equal(t, "0.5.16", report.Packages["sglang"])
	require.Len(t, in.ran, 2, "only the step that failed and what follows it: %q", in.ran)
	require.Contains(t, in.ran[0], "--no-deps flashinfer-python==0.6.14")
	require.True(t, finished(dir))

	in = &installer{t: t, dir: dir}
	_, err = Setup(t.Context(), spec, say, in.run)
	require.NoError(t, err)
	require.Empty(t, in.ran, "repeated, it has nothing to do")

	// Another wish begins at the step that changed, and the environment counts as unfinished meanwhile.
	spec.SGLang = "0.5.18"
	ctx, cancel := context.WithCancel(t.Context())
	in = &installer{t: t, dir: dir, failAt: "sglang==0.5.18", cut: cancel}
	_, err = Setup(ctx, spec, say, in.run)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "the same command goes on")
	require.False(t, finished(dir))
}

func TestSetup_SaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "env")
	run := func(_ context.Context, _ func(string), argv ...string) error {
		if strings.Contains(strings.Join(argv, " "), "venv") {
			executable(t, interpreter(dir), `echo '{"version":"3.12.3","packages":{"sglang":"0.5.16"}}'`)
		}
		return nil
	}
	_, err := Setup(t.Context(), Spec{Dir: dir}, func(string) {}, run)
	require.ErrorContains(t, err, "flashinfer-python, torch")
	require.False(t, finished(dir))
}

func TestSteps(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	for _, f := range []string{"python/sglang/__init__.py", "flashinfer/__init__.py"} {
		executable(t, filepath.Join(src, f), "")
	}
	lines := func(s Spec) []string {
		steps, err := s.Steps()
		require.NoError(t, err)
		var list []string
		for _, step := range steps {
			list = append(list, strings.Join(step.Argv, " "))
		}
		return list
	}
	require.Equal(t, []string{
		"/opt/python3.12 -m venv /env",
		"/env/bin/python -m pip install --disable-pip-version-check -e " + src + "/python",
		"/env/bin/python -m pip install --disable-pip-version-check -e " + src,
		"/env/bin/python -m pip install --disable-pip-version-check flashinfer-bench==0.1.2",
	}, lines(Spec{Dir: "/env", Base: "/opt/python3.12", SGLangSrc: src, FlashInferSrc: src, Bench: "0.1.2"}))
	require.Equal(t, []string{
		"/usr/bin/uv venv --allow-existing /env",
		"/usr/bin/uv pip install --python /env/bin/python --prerelease if-necessary sglang",
		"/usr/bin/uv pip install --python /env/bin/python --prerelease if-necessary flashinfer-bench",
	}, lines(Spec{Dir: "/env", UV: "/usr/bin/uv"}))

	for name, c := range map[string]struct {
		spec Spec
		says string
	}{
		"no directory":       {Spec{}, "--env-dir"},
		"both":               {Spec{Dir: "/env", SGLang: "0.5.16", SGLangSrc: src}, "--sglang-src"},
		"not a checkout":     {Spec{Dir: "/env", BenchSrc: src}, "flashinfer_bench/__init__.py"},
		"a flag as version":  {Spec{Dir: "/env", SGLang: "--index-url=http://x"}, "no version"},
		"a version of words": {Spec{Dir: "/env", FlashInfer: "0.6 evil"}, "no version"},
	} {
		_, err := c.spec.Steps()
		require.Equal(t, proto.CodeEnvironment, code(t, err), name)
		require.ErrorContains(t, err, c.says, name)
	}
}

// TestSetup_RealVenv makes a real environment without packages: the tools' own words for their arguments are not ours to fake.
func TestSetup_RealVenv(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on the PATH")
	}
	if exec.Command(python, "-c", "import venv, ensurepip").Run() != nil {
		t.Skip("python3 has no venv or ensurepip")
	}
	dir := filepath.Join(t.TempDir(), "env")
	steps, err := (&Spec{Dir: dir, Base: python}).Steps()
	require.NoError(t, err)
	var out []string
	require.NoError(t, execute(t.Context(), func(line string) { out = append(out, line) }, steps[0].Argv...), out)
	_, err = Probe(t.Context(), interpreter(dir))
	require.NoError(t, err)
	// pip takes our flags: asked for a package that cannot be, it fails over that and not over them.
	out = nil
	argv := append(steps[1].Argv[:len(steps[1].Argv)-1], "--no-index", "tracefleet-has-no-such-package")
	require.Error(t, execute(t.Context(), func(line string) { out = append(out, line) }, argv...))
	require.Contains(t, strings.Join(out, "\n"), "No matching distribution found")
}

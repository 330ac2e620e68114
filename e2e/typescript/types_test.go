package typescript

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/wsts/testdata/hard"
)

// compilers are the oldest TypeScript 5 and the newest TypeScript.
var compilers = []string{"typescript-5.0", "typescript"}

const testdata = "github.com/seed412db446/ws/wsts/testdata/"

// wsts returns the command.
var wsts = sync.OnceValues(func() (file string, err error) {
	dir, err := os.MkdirTemp("", "wsts")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "github.com/seed412db446/ws/wsts").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(dir, "wsts"), err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := wsts(); err == nil {
		os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

// generate writes the files of a package into dir: name.ts and, by -js, name_js.js.
func generate(t *testing.T, dir, pkg string) {
	t.Helper()
	bin, err := wsts()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(pkg)
	command(t, ".", bin, "-o", filepath.Join(dir, name+".ts"), pkg)
	command(t, ".", bin, "-js", "-o", filepath.Join(dir, name+"_js.js"), pkg)
	write(t, filepath.Join(dir, "package.json"), `{"type": "module"}`)
}

// strict are options for which every file has to be right.
var strict = []string{"--strict", "--allowJs", "--checkJs", "--noEmit", "--target", "es2022", "--lib", "es2022,dom",
	"--module", "esnext", "--moduleResolution", "bundler", "--allowImportingTsExtensions"}

// compileAll runs a compiler, and returns what it says.
func compileAll(t *testing.T, compiler string, args ...string) (string, error) {
	t.Helper()
	packages(t, ".")
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"node_modules/" + compiler + "/bin/tsc", "--pretty", "false"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// What encoding/json makes of 1,200 random values has the type that the file says, for pages that use TypeScript and
// for those that use JavaScript.
func TestTypesOfValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	generate(t, dir, testdata+"hard")
	var b bytes.Buffer
	b.WriteString("import type * as ts from \"./hard.ts\";\nimport type * as js from \"./hard_js.js\";\n")
	r := rand.New(rand.NewPCG(1, 2))
	n := 0
	add := func(name string, encoded []byte) {
		n++
		fmt.Fprintf(&b, "{ const v: ts.%s = %s; }\n{ const v: js.%s = %s; }\n", name, encoded, name, encoded)
	}
	all := reflect.TypeFor[hard.All]()
	for range 40 {
		for i := range all.NumField() {
			add(all.Field(i).Name, encode(t, r, all.Field(i).Type, i%2 == 0))
		}
		add("All", encode(t, r, all, false))
		for _, e := range []hard.Event{hard.Say{}, &hard.Say{Text: "happy"}, &hard.Gone{}, hard.Odd{N: 3}, &hard.Odd{}, &hard.Lazy{N: 1}} {
			m, err := hard.Game.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			add("Event", m.Data)
		}
	}
	write(t, filepath.Join(dir, "values.ts"), b.String())
	if n < 500 {
		t.Errorf("only %d values", n)
	}
	for _, c := range compilers {
		if out, err := compileAll(t, c, append(strict, "--exactOptionalPropertyTypes", filepath.Join(dir, "values.ts"))...); err != nil {
			t.Errorf("%s: %v\n%.3000s", c, err, explain(b.String(), out))
		}
	}
}

// encode makes a random value and encodes it as it is or as what a pointer points to, which are not always the same.
func encode(t *testing.T, r *rand.Rand, typ reflect.Type, byPointer bool) []byte {
	p := reflect.New(typ)
	fill(r, p.Elem(), 0)
	v := p.Elem().Interface()
	if byPointer {
		v = p.Interface()
	}
	m, err := ws.JSON(v)
	if err != nil {
		t.Fatal(err)
	}
	return m.Data
}

var errorLine = regexp.MustCompile(`(?m)^\S*?(\w+)\.(ts|js)\((\d+),(\d+)\): error (TS\d+).*$`)

// explain adds the text to each error of the compiler.
func explain(source, out string) string {
	lines := strings.Split(source, "\n")
	return errorLine.ReplaceAllStringFunc(out, func(e string) string {
		var line, column int
		fmt.Sscanf(e[strings.Index(e, "(")+1:], "%d,%d", &line, &column)
		if line > len(lines) {
			return e
		}
		return fmt.Sprintf("%s\n\t%.200s", e, lines[line-1][min(len(lines[line-1]), column-1):])
	})
}

// The other way round: what the types allow is decoded, without a field that Go does not know.
func TestTypesAreDecoded(t *testing.T) {
	t.Parallel()
	packages(t, ".")
	dir := t.TempDir()
	generate(t, dir, testdata+"hard")
	var names []string
	all := reflect.TypeFor[hard.All]()
	for f := range fields(all) {
		if f.Name != "Writers" && f.Name != "Values" { // whose methods are not the opposites of each other
			names = append(names, f.Name)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "types/values.mjs", filepath.Join(dir, "hard.ts"), "60", strings.Join(names, ","))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		name, encoded, _ := strings.Cut(line, " ")
		f, _ := all.FieldByName(name)
		d := json.NewDecoder(strings.NewReader(encoded))
		d.DisallowUnknownFields()
		if err := d.Decode(reflect.New(f.Type).Interface()); err != nil {
			t.Errorf("%s: %v\n%s", name, err, encoded)
		}
	}
	if len(lines) < 500 {
		t.Errorf("only %d values", len(lines))
	}
}

func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// In wrong.ts the compiler finds what the comments at the ends of the lines say, and nothing else.
func TestWrongUses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	generate(t, dir, testdata+"chat")
	source := read(t, "types/wrong.ts")
	write(t, filepath.Join(dir, "wrong.ts"), source)
	write(t, filepath.Join(dir, "wrong_js.ts"), strings.Replace(source, "./chat.ts", "./chat_js.js", 1))
	lines := strings.Split(source, "\n")
	for _, c := range compilers {
		for _, file := range []string{"wrong", "wrong_js"} {
			out, _ := compileAll(t, c, append(strict, "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", filepath.Join(dir, file+".ts"))...)
			found := make(map[int]string)
			for _, e := range strings.Split("\n"+strings.ReplaceAll(out, "\n ", " "), "\n")[1:] {
				if m := errorLine.FindStringSubmatch(e); m != nil && m[1] == file {
					n, _ := strconv.Atoi(m[3])
					found[n] += m[0]
				} else if e != "" {
					t.Errorf("%s: %s", c, e)
				}
			}
			for i, line := range lines {
				_, want, _ := strings.Cut(line, " // error: ")
				if got := found[i+1]; (got == "") != (want == "") || !strings.Contains(got, want) {
					t.Errorf("%s: %s.ts:%d: %s\ngot:  %s\nwant: %s", c, file, i+1, line, got, want)
				}
			}
		}
	}
}

// Files pass with every option that a project may have.
func TestCompilerOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	generate(t, dir, testdata+"hard")
	generate(t, dir, testdata+"chat")
	files := []string{"hard.ts", "hard_js.js", "chat.ts", "chat_js.js"}
	for i, f := range files {
		files[i] = filepath.Join(dir, f)
	}
	for _, options := range []string{
		"--strict",
		"--strict --exactOptionalPropertyTypes",
		"--strict --noUncheckedIndexedAccess",
		"--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --noPropertyAccessFromIndexSignature --noImplicitOverride --noImplicitReturns" +
			" --noUnusedLocals --noUnusedParameters --noFallthroughCasesInSwitch --isolatedModules --verbatimModuleSyntax",
		"--strict --module nodenext --moduleResolution nodenext",
		"--strict --erasableSyntaxOnly",
	} {
		for _, c := range compilers {
			if strings.Contains(options, "erasableSyntaxOnly") && c != "typescript" {
				continue // it is from TypeScript 5.8
			}
			args := append([]string{"--allowJs", "--checkJs", "--noEmit", "--target", "es2022", "--lib", "es2022,dom", "--skipLibCheck"}, strings.Fields(options)...)
			if !strings.Contains(options, "--module ") {
				args = append(args, "--module", "esnext", "--moduleResolution", "bundler")
			}
			if out, err := compileAll(t, c, append(args, files...)...); err != nil {
				t.Errorf("%s %s: %v\n%.2000s", c, options, err, out)
			}
		}
	}
}

// Node's type stripping makes a module of the file, and the JavaScript is one as it is: both give the same URL.
func TestModules(t *testing.T) {
	t.Parallel()
	packages(t, ".")
	dir := t.TempDir()
	generate(t, dir, testdata+"chat")
	out := command(t, ".", "node", "types/modules.mjs", filepath.Join(dir, "chat.ts"), filepath.Join(dir, "chat_js.js"))
	const want = `wss://example.com/games/a%2Fb/c/d?token=1 Chat,Game,StatusKicked,StatusToken`
	if got := strings.Split(strings.TrimSpace(out), "\n"); len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("got %q, want twice %q", got, want)
	}
}

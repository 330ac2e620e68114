package typescript

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-github/v75/github"
)

// The types of a large package: its output compiles, and random values of some have these types.
func TestGitHub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names := structs(t, strings.TrimSpace(command(t, ".", "go", "list", "-f", "{{.Dir}}", "github.com/google/go-github/v75/github")))
	if len(names) < 800 {
		t.Fatalf("only %d types", len(names))
	}
	var b bytes.Buffer
	b.WriteString("package hub\n\nimport (\n\t\"github.com/google/go-github/v75/github\"\n\n\t\"github.com/seed412db446/ws\"\n)\n\ntype All struct {\n")
	for _, name := range names {
		fmt.Fprintf(&b, "\tX%s *github.%s\n", name, name)
	}
	b.WriteString("}\n\nvar Hub = ws.Route[All, *All]{Path: \"/hub\"}\n")
	write(t, filepath.Join(dir, "hub.go"), b.String())
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mod := strings.Replace(read(t, "../go.mod"), "module github.com/seed412db446/ws/e2e", "module example.com/hub", 1)
	write(t, filepath.Join(dir, "go.mod"), strings.Replace(mod, "ws => ..", "ws => "+root, 1))
	write(t, filepath.Join(dir, "go.sum"), read(t, "../go.sum"))
	bin, err := wsts()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-o", "hub.ts"}, {"-js", "-o", "hub_js.js"}} {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%.2000s", args, err, out)
		}
	}
	var values bytes.Buffer
	values.WriteString("import type * as ts from \"./hub.ts\";\nimport type * as js from \"./hub_js.js\";\n")
	r := rand.New(rand.NewPCG(3, 4))
	for _, typ := range []reflect.Type{
		reflect.TypeFor[github.Commit](), reflect.TypeFor[github.Hook](), reflect.TypeFor[github.Label](), reflect.TypeFor[github.PushEvent](),
		reflect.TypeFor[github.RepositoryRelease](), reflect.TypeFor[github.RepositoryContent](), reflect.TypeFor[github.WorkflowRun](), reflect.TypeFor[github.Rate](),
	} {
		for range 3 {
			fmt.Fprintf(&values, "{ const v: ts.%s = %[2]s; const w: js.%[1]s = %[2]s; }\n", typ.Name(), encode(t, r, typ, false))
		}
	}
	write(t, filepath.Join(dir, "values.ts"), values.String())
	for _, c := range compilers {
		if out, err := compileAll(t, c, append(strict, "--exactOptionalPropertyTypes", "--noUnusedLocals", filepath.Join(dir, "hub.ts"), filepath.Join(dir, "hub_js.js"))...); err != nil {
			t.Errorf("%s: %v\n%.3000s", c, err, out)
		}
		if out, err := compileAll(t, c, append(strict, filepath.Join(dir, "values.ts"))...); err != nil {
			t.Errorf("%s: %v\n%.3000s", c, err, explain(values.String(), out))
		}
	}
}

// noData matches what is made to be used, not to be sent.
var noData = regexp.MustCompile(`Service$|^Client$|^Response$|Error$`)

// structs returns the names of the structs that a package exports, but for those that are no data.
func structs(t *testing.T, dir string) (names []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range decl.Specs {
				if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() && s.TypeParams == nil {
					if _, ok := s.Type.(*ast.StructType); ok && !noData.MatchString(s.Name.Name) {
						names = append(names, s.Name.Name)
					}
				}
			}
		}
	}
	return names
}

package docs

import (
	"errors"
	"fmt"
	"go/doc"
	"go/doc/comment"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the project's documents.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md", "bench/*.md", "e2e/*.md", "e2e/*/*.md", "wsts/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages found", len(all))
	}
	return all
}

// A fence is a block of Go. One that is not a whole file may have comments before it, which readers don't see:
// the declarations beside it, and the function that its statements are inside of.
//
//	<!-- beside: type Post struct{ Text string } -->
//	<!-- inside: func(r *http.Request) (ws.Events, error) -->
var fence = regexp.MustCompile("(?ms)(?:^<!-- beside: ([^\n]*) -->\n)?(?:^<!-- inside: func([^\n]*) -->\n)?^```go\n(.*?)^```$")

// TestSnippets compiles every block of Go.
func TestSnippets(t *testing.T) {
	dir, err := os.MkdirTemp(".", "_snippets") // in this module, and in no ./...
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var snippets []string
	add := func(page string, i int, source string) {
		name := "snippet.go"
		if strings.Contains(source, `"testing"`) {
			name = "snippet_test.go"
		}
		snippet := filepath.Join(dir, fmt.Sprintf("%s_%d", strings.NewReplacer("../", "", "/", "_").Replace(page), i+1))
		if err := errors.Join(os.Mkdir(snippet, 0o755), os.WriteFile(filepath.Join(snippet, name), []byte(source), 0o644)); err != nil {
			t.Fatal(err)
		}
		snippets = append(snippets, "./"+snippet)
	}
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range fence.FindAllSubmatch(text, -1) {
			add(page, i, file(string(m[1]), string(m[2]), string(m[3])))
		}
	}
	for i, snippet := range tutorial(t) {
		add("doc.go", i, file(beside(snippet)))
	}
	if len(snippets) < 20 {
		t.Fatalf("only %d blocks of Go found", len(snippets))
	}
	out, err := exec.Command("go", append([]string{"vet"}, snippets...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// tutorial returns the blocks of Go in the package comment.
func tutorial(t *testing.T) (snippets []string) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range new(comment.Parser).Parse(f.Doc.Text()).Content {
		code, ok := block.(*comment.Code)
		if !ok || strings.HasPrefix(code.Text, "go run ") {
			continue
		}
		if formatted, err := format.Source([]byte(code.Text)); err != nil || string(formatted) != code.Text {
			t.Errorf("doc.go has a block that gofmt would change: %v\n%s", err, code.Text)
		}
		snippets = append(snippets, code.Text)
	}
	return snippets
}

// beside says what a block of the package comment has around it, which readers can tell.
func beside(snippet string) (beside, inside, same string) {
	switch {
	case regexp.MustCompile(`^(type|var|import) `).MatchString(snippet):
		return "", "", snippet
	case regexp.MustCompile(`(?m)^return ws\.`).MatchString(snippet):
		inside = "(w http.ResponseWriter, r *http.Request) (ws.Events, error)"
	case regexp.MustCompile(`(?m)^return `).MatchString(snippet):
		inside = "(ctx context.Context) error"
	default:
		inside = "()"
	}
	return "var mux *http.ServeMux; var server *http.Server; var factory ws.Factory", inside, snippet
}

// TestExamples proves that pkg.go.dev shows each example as a whole program, which
// it does not if one needs what another file declares.
func TestExamples(t *testing.T) {
	names, err := filepath.Glob("../../example*_test.go")
	if err != nil || len(names) == 0 {
		t.Fatal("no examples found", err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range doc.Examples(f) {
			if e.Play == nil || e.Output == "" {
				t.Errorf("%s: Example%s is no program with an output", name, e.Name)
			}
		}
	}
}

// packages are what a snippet may name without importing it.
var packages = map[string]string{
	"chi": "github.com/go-chi/chi/v5", "middleware": "github.com/go-chi/chi/v5/middleware",
	"websocket": "github.com/coder/websocket", "ws": "github.com/seed412db446/ws",
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "log": "log", "os": "os", "signal": "os/signal", "strconv": "strconv",
	"strings": "strings", "syscall": "syscall", "testing": "testing", "time": "time",
}

// file makes a file of a snippet.
func file(beside, inside, snippet string) string {
	head := "package snippet\n\n"
	if i := regexp.MustCompile(`(?m)^package .*\n`).FindStringIndex(snippet); i != nil {
		head, snippet = snippet[:i[1]], snippet[i[1]:]
	}
	if inside != "" {
		snippet = "func _" + inside + " {\n" + snippet + "}\n"
	}
	code := regexp.MustCompile(`//.*`).ReplaceAllString(snippet, "") + beside
	if !strings.HasPrefix(strings.TrimSpace(snippet), "import ") {
		for name, path := range packages {
			if regexp.MustCompile(`\b`+name+`\.`).MatchString(code) && !strings.Contains(beside, "/"+name+`"`) {
				head += fmt.Sprintf("import %q\n", path)
			}
		}
	}
	return head + beside + "\n\n" + snippet
}

// TestLinks follows the links to files of the repository, and to their headings.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`(?m)\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"|^\[[^\]]+\]: (\S+)`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), ""), -1) {
			target := m[1] + m[2] + m[3]
			if strings.Contains(target, "://") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			to := page
			if path != "" {
				to = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", page, target, err)
			} else if anchor != "" && !headings(t, to)[anchor] {
				t.Errorf("%s links to %s, which has no such heading", page, target)
			}
		}
	}
}

// TestCommands proves that the tests that documents tell readers to run in the root exist.
func TestCommands(t *testing.T) {
	command := regexp.MustCompile(`go test (?:-race |-count=\d+ )*-run '?([^\s']+)'? \.`)
	found := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			found++
			cmd := exec.Command("go", "test", "-run", m[1], ".")
			cmd.Dir = "../.."
			if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "no tests to run") {
				t.Errorf("%s: %s: %v\n%s", page, m[0], err, out)
			}
		}
	}
	if found < 3 {
		t.Fatalf("only %d commands found", found)
	}
}

// headings returns the anchors of a page's headings, as GitHub makes them.
func headings(t *testing.T, page string) map[string]bool {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		s := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(s, " ", "-")] = true
	}
	return anchors
}

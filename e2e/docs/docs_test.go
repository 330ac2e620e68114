package docs

import (
	"errors"
	"fmt"
	"go/doc/comment"
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
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range fence.FindAllSubmatch(text, -1) {
			source := file(string(m[1]), string(m[2]), string(m[3]))
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
	}
	for i, code := range tutorial(t) {
		beside, inside := "", ""
		switch {
		case strings.HasPrefix(code, "import "):
		case strings.HasPrefix(code, "var "):
			beside = "type Post struct{}; type Note struct{}"
		default:
			inside = "(t *testing.T, mux *http.ServeMux, factory ws.Factory, server *http.Server, room *ws.Group, c *ws.Conn, ctx context.Context, got chan string) error"
			if !strings.HasPrefix(code, "return ") {
				code += "return nil\n"
			}
		}
		snippet := filepath.Join(dir, fmt.Sprintf("doc_%d", i+1))
		if err := errors.Join(os.Mkdir(snippet, 0o755), os.WriteFile(filepath.Join(snippet, "snippet.go"), []byte(file(beside, inside, code)), 0o644)); err != nil {
			t.Fatal(err)
		}
		snippets = append(snippets, "./"+snippet)
	}
	if len(snippets) < 20 {
		t.Fatalf("only %d blocks of Go found", len(snippets))
	}
	out, err := exec.Command("go", append([]string{"vet"}, snippets...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// tutorial returns the blocks of Go in the package's documentation.
func tutorial(t *testing.T) (blocks []string) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range new(comment.Parser).Parse(f.Doc.Text()).Content {
		if code, ok := b.(*comment.Code); ok && !strings.HasPrefix(code.Text, "ws: ") { // a report
			blocks = append(blocks, code.Text)
		}
	}
	if len(blocks) < 9 {
		t.Fatalf("doc.go has only %d blocks of Go", len(blocks))
	}
	return blocks
}

// packages are what a snippet may name without importing it.
var packages = map[string]string{
	"chi": "github.com/go-chi/chi/v5", "middleware": "github.com/go-chi/chi/v5/middleware",
	"websocket": "github.com/coder/websocket", "ws": "github.com/seed412db446/ws",
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "log": "log", "strconv": "strconv", "strings": "strings", "testing": "testing", "time": "time",
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
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), ""), -1) {
			target := m[1] + m[2]
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

package matrix

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into ../README.md")

const readme = "../README.md"

const begin, end = "<!-- matrix: made by `go test ./matrix -run TestReadme -update` -->\n", "<!-- end of matrix -->\n"

// TestReadme asserts that the table in README.md says what the rows say.
func TestReadme(t *testing.T) {
	old, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no markers %q and %q", readme, begin, end)
	}
	want := head + begin + table() + end + tail
	if string(old) == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not up to date; run: go test ./matrix -run TestReadme -update", readme)
	}
	if err := os.WriteFile(readme, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func table() string {
	var b strings.Builder
	all := rows()
	count := func(f func(r *row) bool) (n int) {
		for _, r := range all {
			if f(r) {
				n++
			}
		}
		return n
	}
	fmt.Fprintf(&b, "\nOf %d stacks, an echo works with the plain engine in %d, with ws in %d, and with ws behind Guard in %d, over HTTP/1.1 and HTTP/2. "+
		"Without a word in the server's log, a lost header or a false status it works in %d, %d and %d.\n",
		len(all),
		count(func(r *row) bool { return r.plain == "" || strings.HasPrefix(r.plain, worksAnswer) }),
		count(func(r *row) bool { return r.bare == "" || strings.HasPrefix(r.bare, worksAnswer) }),
		len(all),
		count(func(r *row) bool { return r.plain == "" }),
		count(func(r *row) bool { return r.bare == "" }),
		len(all),
	)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n### %s\n\n| stack | plain engine | ws without Guard | ws with Guard | HTTP/2 behind Guard |\n| --- | --- | --- | --- | --- |\n", s.title)
		for _, r := range s.rows {
			with := worksAnswer
			for i, rep := range r.reports {
				sep := ", "
				if i == 0 {
					sep = "; reports "
				}
				with += sep + rep.markdown()
			}
			without := cell(r.bare)
			if r.refused != "" {
				without += ": `" + r.refused + "`"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.name, cell(r.plain), without, with, worksAnswer) // TestMatrixHTTP2 has no exception
		}
	}
	b.WriteString("\n")
	return b.String()
}

func cell(s string) string {
	if s == "" {
		return worksAnswer
	}
	return strings.ReplaceAll(s, "server log: ", "the server logs ")
}

func (r report) markdown() string {
	s := r.op
	if r.key != "" {
		s += " " + r.key
	}
	if r.who != "" {
		s += " by `" + r.who + "`"
	}
	return s
}

package matrix

import (
	"slices"
	"testing"
)

// sections are all rows, in the order of the table.
var sections = []struct {
	title string
	rows  []row
}{
	{"Routers and net/http", routers},
	{"chi", chiRows},
	{"gin", ginRows},
	{"echo", echoRows},
	{"Compression", compressRows},
	{"Logging, metrics and tracing", observeRows},
	{"Security, sessions and limits", securityRows},
	{"Stacks", stackRows},
	{"Middlewares that touch the response too late", lateRows},
}

func rows() []*row {
	var all []*row
	for _, s := range sections {
		for i := range s.rows {
			all = append(all, &s.rows[i])
		}
	}
	return all
}

func eachRow(t *testing.T, f func(t *testing.T, r *row)) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			f(t, r)
		})
	}
}

// The plain engine's column: what ws is compared with. A row that changes
// here is news about the engine or the stack, not a fault of ws.
func TestMatrixPlain(t *testing.T) {
	eachRow(t, func(t *testing.T, r *row) {
		want := r.plain
		if want == "" {
			want = worksAnswer
		}
		got := r.run(t, plainEngine, base, want).sentence(r)
		if got != want {
			t.Errorf("the plain engine:\n got  %s\n want %s", got, want)
		}
	})
}

func TestRowsAreNamedOnce(t *testing.T) {
	var names []string
	for _, r := range rows() {
		if slices.Contains(names, r.name) {
			t.Errorf("two rows are named %q", r.name)
		}
		names = append(names, r.name)
	}
	if len(names) < 100 {
		t.Errorf("the matrix has %d rows, and should not get smaller than 100", len(names))
	}
}

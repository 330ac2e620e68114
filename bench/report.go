//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what -json writes: every figure of every round.
type report struct {
	Rounds  int       `json:"rounds"`
	Window  string    `json:"window"`
	Short   bool      `json:"short"`
	Results []*result `json:"results"`
}

type result struct {
	Work    string    `json:"work"`
	Server  string    `json:"server"`
	Failure string    `json:"failure,omitempty"`
	Rounds  []figures `json:"rounds"` // those of all servers of a work belong together by their index
}

func readReport(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rep := &report{}
	if err := json.Unmarshal(b, rep); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rep, nil
}

func (rep *report) result(work, server string) *result {
	for _, r := range rep.Results {
		if r.Work == work && r.Server == server {
			return r
		}
	}
	return nil
}

func (rep *report) at(work, server string) *result {
	if r := rep.result(work, server); r != nil {
		return r
	}
	r := &result{Work: work, Server: server}
	rep.Results = append(rep.Results, r)
	return r
}

func (rep *report) add(work, server string, f figures) {
	r := rep.at(work, server)
	r.Rounds = append(r.Rounds, f)
}

// fail forgets the figures of a server that did a work wrong even once.
func (rep *report) fail(work, server string, err error) {
	r := rep.at(work, server)
	r.Failure, r.Rounds = err.Error(), nil
}

func (rep *report) failures() (n int) {
	for _, r := range rep.Results {
		if r.Failure != "" {
			n++
		}
	}
	return n
}

// works are those that the report has figures of, in their usual order.
func (rep *report) works() []work {
	return slices.DeleteFunc(slices.Concat(allWorks(rep.Short), scaleWorks(rep.Short)), func(w work) bool {
		return !slices.ContainsFunc(rep.Results, func(r *result) bool { return r.Work == w.name })
	})
}

// servers are the names of those that the report has figures of.
func (rep *report) servers() (names []string) {
	for _, r := range rep.Results {
		if !slices.Contains(names, r.Server) {
			names = append(names, r.Server)
		}
	}
	return names
}

// metric is a column of a table.
type metric struct {
	name   string
	key    bool // a ratio of it is reported, and less is better
	of     func(figures) float64
	format func(float64) string
}

func cpuPer(what string) metric {
	return metric{"CPU per " + what, true, func(f figures) float64 { return f.CPU }, seconds}
}

func rateOf(what string) metric {
	return metric{what + "/s", false, func(f figures) float64 { return f.Rate }, func(x float64) string { return fmt.Sprintf("%.0f", x) }}
}

func timeTo(what string) metric {
	return metric{"time to " + what, true, func(f figures) float64 { return f.P50 }, seconds}
}

func memoryOf(what string) metric {
	return metric{"memory of the " + what, what == "connection", func(f figures) float64 { return f.Memory }, func(x float64) string {
		if x >= 1<<20 {
			return fmt.Sprintf("%.1f MiB", x/(1<<20))
		}
		return fmt.Sprintf("%.1f KiB", x/(1<<10))
	}}
}

var (
	p50 = metric{"p50", false, func(f figures) float64 { return f.P50 }, seconds}
	p99 = metric{"p99", false, func(f figures) float64 { return f.P99 }, seconds}
)

func seconds(x float64) string {
	if x < 1e-3 {
		return fmt.Sprintf("%.2f µs", x*1e6)
	}
	return fmt.Sprintf("%.2f ms", x*1e3)
}

// figure is a median over the rounds, and in relation to it how far apart the
// middle half of them lies: like the median, it forgives an odd round.
type figure struct{ median, spread float64 }

func summary(xs []float64) figure {
	if len(xs) == 0 {
		return figure{math.NaN(), 0}
	}
	xs = slices.Sorted(slices.Values(xs))
	at := func(q float64) float64 { // between two rounds: their mean, by distance
		i, part := math.Modf(q * float64(len(xs)-1))
		if part == 0 {
			return xs[int(i)]
		}
		return xs[int(i)]*(1-part) + xs[int(i)+1]*part
	}
	return figure{at(0.5), (at(0.75) - at(0.25)) / at(0.5)}
}

// wide is the spread from which on a figure is marked as one that means little.
const wide = 0.15

const wideNote = "~: the middle half of the rounds lies more than 15 % of the figure apart; don't build on it."

func (f figure) String(format func(float64) string) string {
	switch {
	case math.IsNaN(f.median) || math.IsInf(f.median, 0):
		return "–"
	case f.spread > wide:
		return "~" + format(f.median)
	}
	return format(f.median)
}

func asRatio(x float64) string { return fmt.Sprintf("%.2f", x) }

func (r *result) summary(m metric) figure {
	var xs []float64
	for _, f := range r.Rounds {
		xs = append(xs, m.of(f))
	}
	return summary(xs)
}

// ratio compares a server with the reference within each round.
func (rep *report) ratio(work, server string, m metric) figure {
	r, ref := rep.result(work, server), rep.result(work, reference)
	if r == nil || ref == nil {
		return summary(nil)
	}
	var xs []float64
	for i := range min(len(r.Rounds), len(ref.Rounds)) {
		xs = append(xs, m.of(r.Rounds[i])/m.of(ref.Rounds[i]))
	}
	return summary(xs)
}

// print writes the table of one work.
func (rep *report) print(out io.Writer, w work) {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := []string{""}
	for _, m := range w.shows {
		line = append(line, m.name)
		if m.key {
			line = append(line, "/ "+reference)
		}
	}
	fmt.Fprintln(tw, strings.Join(line, "\t")+"\t")
	for _, server := range rep.servers() {
		r := rep.result(w.name, server)
		if r == nil || r.Failure != "" {
			continue
		}
		line := []string{server}
		for _, m := range w.shows {
			line = append(line, r.summary(m).String(m.format))
			if m.key {
				line = append(line, rep.ratio(w.name, server, m).String(asRatio))
			}
		}
		fmt.Fprintln(tw, strings.Join(line, "\t")+"\t")
	}
	tw.Flush()
	for _, r := range rep.Results {
		if r.Work == w.name && r.Failure != "" {
			fmt.Fprintf(&b, "%s FAILED: %s\n", r.Server, r.Failure)
		}
	}
	if bytes.ContainsRune(b.Bytes(), '~') {
		fmt.Fprintln(&b, wideNote)
	}
	fmt.Fprintf(out, "%s: %s\n%s\n", w.name, w.title, b.String())
}

// markdown is one table of all ratios.
func (rep *report) markdown() string {
	var b strings.Builder
	servers := rep.servers()
	fmt.Fprintf(&b, "| ratio to %s, less is better | %s |\n| --- |%s\n", reference,
		strings.Join(servers, " | "), strings.Repeat(" ---: |", len(servers)))
	for _, w := range rep.works() {
		for _, m := range w.shows {
			if !m.key {
				continue
			}
			fmt.Fprintf(&b, "| %s: %s |", w.title, m.name)
			for _, server := range servers {
				s := rep.ratio(w.name, server, m).String(asRatio)
				if r := rep.result(w.name, server); r != nil && r.Failure != "" {
					s = "failed"
				}
				fmt.Fprintf(&b, " %s |", s)
			}
			fmt.Fprintln(&b)
		}
	}
	fmt.Fprintf(&b, "\nMedians of %d rounds of %s. –: the server can't do it, or it was not measured.", rep.Rounds, rep.Window)
	if strings.Contains(b.String(), "~") {
		b.WriteString(" " + wideNote)
	}
	b.WriteString("\n")
	return b.String()
}

// write makes the files that have a name.
func (rep *report) write(jsonPath, mdPath, svgPath string) error {
	for _, f := range []struct {
		path string
		make func() ([]byte, error)
	}{
		{jsonPath, func() ([]byte, error) { return json.MarshalIndent(rep, "", "\t") }},
		{mdPath, func() ([]byte, error) { return []byte(rep.markdown()), nil }},
		{svgPath, rep.plot},
	} {
		if f.path == "" {
			continue
		}
		b, err := f.make()
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		if err := os.WriteFile(f.path, b, 0o666); err != nil {
			return err
		}
	}
	return nil
}

func newReport(rounds int, t timing) *report {
	return &report{Rounds: rounds, Window: t.window.Round(time.Millisecond).String(), Short: t.short}
}

//go:build linux

// Command bench measures package ws beside other WebSocket servers. Each server
// runs as a process of its own and is loaded from this one. See README.md.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"time"
)

func main() {
	err := run(os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// timing says how long a measurement takes.
type timing struct {
	warm   time.Duration // before the measured window
	window time.Duration // the measured window
	grace  time.Duration // for an answer that is due
	short  bool          // tiny numbers of connections
}

func run(args []string) error {
	if len(args) > 0 && args[0] == serveCommand {
		return serve(args[1:])
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		worksRE   = fs.String("works", "", "only works that match this `regexp`")
		serversRE = fs.String("servers", "", "only servers that match this `regexp`; ratios need coder")
		rounds    = fs.Int("rounds", 5, "rounds; in each, every server is measured once")
		duration  = fs.Duration("duration", time.Second, "measured window of one server in one round")
		short     = fs.Bool("short", false, "everything, but tiny: a check that it works")
		scale     = fs.Bool("scale", false, "measure how costs grow with the number of connections instead")
		hono      = fs.Bool("hono", false, "measure Hono on Bun, Deno and Node too")
		profile   = fs.String("profile", "", "write CPU profiles of the Go servers' measured windows, and heap profiles of the idle ones, to this `directory`")
		jsonPath  = fs.String("json", "", "write every figure of every round to this `file`")
		mdPath    = fs.String("md", "", "write the ratios as a Markdown table to this `file`")
		svgPath   = fs.String("svg", "", "write a plot of the ratios to this `file`")
		replot    = fs.String("from", "", "measure nothing: report what -json wrote to this `file`")
	)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see -help", fs.Arg(0))
	}
	if *replot != "" {
		rep, err := readReport(*replot)
		if err != nil {
			return err
		}
		for _, w := range rep.works() {
			rep.print(os.Stdout, w)
		}
		return rep.write("", *mdPath, *svgPath)
	}
	t := timing{warm: *duration / 3, window: *duration, grace: 5 * time.Second, short: *short}
	if *short {
		t.warm, t.window = 20*time.Millisecond, 60*time.Millisecond
		*rounds = 1
	}
	works := allWorks(*short)
	if *scale {
		works = scaleWorks(*short)
	}
	works, err := pick(works, func(w work) string { return w.name }, *worksRE)
	if err != nil {
		return fmt.Errorf("-works: %w", err)
	}
	all := servers()
	if *hono {
		honos, err := honoServers()
		if err != nil {
			return err
		}
		all = append(all, honos...)
	}
	picked, err := pick(all, func(s server) string { return s.name }, *serversRE)
	if err != nil {
		return fmt.Errorf("-servers: %w", err)
	}
	if *profile != "" {
		if err := os.MkdirAll(*profile, 0o777); err != nil {
			return err
		}
	}
	if err := raiseFileLimit(); err != nil {
		return err
	}

	rep := newReport(*rounds, t)
	for _, w := range works {
		measureWork(rep, w, picked, t, *rounds, *profile)
		rep.print(os.Stdout, w)
	}
	if err := rep.write(*jsonPath, *mdPath, *svgPath); err != nil {
		return err
	}
	if n := rep.failures(); n > 0 {
		return fmt.Errorf("%d measurements failed", n)
	}
	return nil
}

// measureWork runs one work on every server in turn, round after round, so that
// whatever else the machine does affects all of them alike.
func measureWork(rep *report, w work, servers []server, t timing, rounds int, profile string) {
	failed := map[string]bool{}
	for round := range rounds {
		for i := range servers {
			s := servers[(round+i)%len(servers)] // no server always comes after the same one
			if !s.can(w) || failed[s.name] {
				continue
			}
			progress(fmt.Sprintf("%s, round %d of %d, %s", w.name, round+1, rounds, s.name))
			f, err := measureOne(s, w, t, profile)
			if err != nil {
				failed[s.name] = true
				rep.fail(w.name, s.name, err)
				continue
			}
			rep.add(w.name, s.name, f)
		}
	}
	progress("")
}

func measureOne(s server, w work, t timing, profile string) (figures, error) {
	runtime.GC() // collects what the measurement before has left
	p, err := start(s, w)
	if err != nil {
		return figures{}, err
	}
	if profile != "" && s.command == nil {
		p.profile = fmt.Sprintf("%s/%s.%s.prof", profile, w.name, s.name)
	}
	f, err := w.run(p, w, t)
	if stopErr := p.stop(); err != nil || stopErr != nil {
		return figures{}, fmt.Errorf("%w%s", cmp.Or(err, stopErr), p.complaint())
	}
	return f, nil
}

func pick[T any](all []T, name func(T) string, expr string) ([]T, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	var picked []T
	for _, x := range all {
		if re.MatchString(name(x)) {
			picked = append(picked, x)
		}
	}
	if picked == nil {
		return nil, fmt.Errorf("nothing matches %q", expr)
	}
	return picked, nil
}

// progress shows what is being measured on the last line of a terminal.
func progress(s string) {
	if fi, err := os.Stderr.Stat(); err == nil && fi.Mode()&os.ModeCharDevice != 0 {
		io.WriteString(os.Stderr, "\r\x1b[K"+s)
	}
}

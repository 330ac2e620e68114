//go:build linux

package main

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// window is a measured stretch of time.
type window struct {
	p      *process
	begin  time.Time
	cpu    time.Duration // at first until the beginning, then what was used
	took   time.Duration
	count  int64 // the same
	memory float64
}

func begin(p *process, count int64) (*window, error) {
	if p.profile != "" {
		if err := p.ask("profile " + p.profile); err != nil {
			return nil, err
		}
	}
	cpu, err := cpuTime(p.pid)
	return &window{p: p, begin: time.Now(), cpu: cpu, count: count}, err
}

func (m *window) end(count int64) error {
	cpu, err := cpuTime(m.p.pid)
	m.took, m.cpu, m.count = time.Since(m.begin), cpu-m.cpu, count-m.count
	if err != nil {
		return err
	}
	if m.memory, err = memory(m.p.pid); err != nil || m.p.profile == "" {
		return err
	}
	return m.p.ask("stop")
}

func (m *window) figures(times []time.Duration) (figures, error) {
	if m.count == 0 || len(times) == 0 {
		return figures{}, errors.New("nothing was done in the measured window")
	}
	slices.Sort(times)
	return figures{
		Rate:   float64(m.count) / m.took.Seconds(),
		CPU:    m.cpu.Seconds() / float64(m.count),
		P50:    times[len(times)/2].Seconds(),
		P99:    times[len(times)*99/100].Seconds(),
		Memory: m.memory,
	}, nil
}

// measure lets a load run for the warm-up and then for the measured window. A
// load that ends meanwhile has failed.
func measure(p *process, t timing, timed *atomic.Bool, errs <-chan error, count func() int64) (*window, error) {
	wait := func(d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case err := <-errs:
			return err
		case <-timer.C:
			return nil
		}
	}
	if err := wait(t.warm); err != nil {
		return nil, err
	}
	timed.Store(true)
	m, err := begin(p, count())
	if err != nil {
		return nil, err
	}
	for more := true; more; more = count() == m.count && time.Since(m.begin) < t.grace { // the machine may be busy
		if err := wait(t.window); err != nil {
			return nil, err
		}
	}
	err = m.end(count())
	timed.Store(false)
	return m, err
}

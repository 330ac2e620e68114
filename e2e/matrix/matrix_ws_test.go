package matrix

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed412db446/ws"
)

// TestMatrix proves G2, G3, G4, G5, G6 and H3 with Guard around every stack:
// it upgrades, the headers that the stack set arrive, the stack's own log
// says 101, and exactly the expected reports are made.
func TestMatrix(t *testing.T) {
	eachRow(t, func(t *testing.T, r *row) {
		o := r.run(t, guarded, base, worksAnswer)
		checkWorks(t, r, o)
		checkReports(t, o.errs, r.reports)
	})
}

// TestMatrixHTTP2 proves T2 and all of the above over HTTP/2.
func TestMatrixHTTP2(t *testing.T) {
	eachRow(t, func(t *testing.T, r *row) {
		o := r.run(t, overH2, base, worksAnswer)
		checkWorks(t, r, o)
		checkReports(t, o.errs, r.reports)
	})
}

// TestMatrixWithoutGuard proves G8 and H1's 501.
func TestMatrixWithoutGuard(t *testing.T) {
	eachRow(t, func(t *testing.T, r *row) {
		want := r.bare
		if want == "" {
			want = worksAnswer
		}
		o := r.run(t, bare, base, want)
		if got := o.sentence(r); got != want {
			t.Errorf("ws without Guard:\n got  %s\n want %s", got, want)
		}
		if r.refused == "" {
			checkReports(t, o.errs, nil)
			return
		}
		var refused *ws.HandshakeError
		if len(o.errs) != 1 || !errors.As(o.errs[0], &refused) || want != fmt.Sprintf("fails with %d", refused.Status) || !strings.Contains(refused.Error(), r.refused) {
			t.Errorf("errors:\n got  %v\n want one HandshakeError that says %q", o.errs, r.refused)
		}
	})
}

// TestMatrixPlainBehindGuard proves G7: behind Guard the plain engine does
// what it does without, good or bad.
func TestMatrixPlainBehindGuard(t *testing.T) {
	eachRow(t, func(t *testing.T, r *row) {
		if strings.Contains(r.name, "ws.Guard") {
			return // its own Guard leaves the work to the outer one
		}
		want := r.plain
		if want == "" {
			want = worksAnswer
		}
		if got := r.run(t, plainGuarded, base, want).sentence(r); got != want {
			t.Errorf("the plain engine behind Guard:\n got  %s\n want %s", got, want)
		}
	})
}

var variants = []variant{
	{name: "detached", detach: true},
	{name: "first message with the handshake", early: true},
	{name: "detached, first message with the handshake", detach: true, early: true},
	{name: "Connection: keep-alive, Upgrade", edit: func(b []byte) []byte {
		return bytes.Replace(b, []byte("Connection: Upgrade\r\n"), []byte("Connection: keep-alive, Upgrade\r\n"), 1)
	}},
	{name: "closed by the server", end: "close", code: 4002},
	{name: "panic in a callback", end: "panic", code: 1011},
}

// TestMatrixVariants uses every stack in every other way, with Guard, and
// without it where ws works so.
func TestMatrixVariants(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			eachRow(t, func(t *testing.T, r *row) {
				if v.early && r.front != nil {
					return // httputil.ReverseProxy loses what it has read beyond the handshake
				}
				o := r.run(t, guarded, v, worksAnswer)
				checkWorks(t, r, o)
				errs := checkPanic(t, v, o.errs)
				// A detached handler outlives no timeout, but on a slow machine it may.
				if !v.detach || r.waits == forNothing || len(errs) > 0 {
					checkReports(t, errs, r.reports)
				}
				if r.bare == "" || strings.HasPrefix(r.bare, worksAnswer) {
					o := r.run(t, bare, v, worksAnswer)
					if o.answer != worksAnswer {
						t.Errorf("ws without Guard: %s", o.sentence(r))
					}
					checkReports(t, checkPanic(t, v, o.errs), nil)
				}
			})
		})
	}
}

func checkWorks(t *testing.T, r *row, o outcome) {
	t.Helper()
	if got := o.sentence(r); got != worksAnswer {
		t.Errorf("ws with Guard: %s", got)
		for _, err := range o.errs {
			t.Logf("reported: %v", err)
		}
		if r.logged != "" {
			t.Logf("the stack's log: %.2500s", o.log)
		}
		return
	}
	if !has(o.header, "X-Factory: yes") {
		t.Error("the factory's header did not reach the client")
	}
	for _, k := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Trailer", "Keep-Alive"} {
		if v, ok := o.header[k]; ok {
			t.Errorf("the 101 has %s: %s", k, v)
		}
	}
}

// checkPanic takes the PanicError out of errs that the variant has to cause.
func checkPanic(t *testing.T, v variant, errs []error) []error {
	t.Helper()
	if v.end != "panic" {
		return errs
	}
	for i, err := range errs {
		var p *ws.PanicError
		if errors.As(err, &p) && errors.Is(err, errCallback) {
			return append(errs[:i:i], errs[i+1:]...)
		}
	}
	t.Errorf("no PanicError was reported: %v", errs)
	return errs
}

// checkReports wants exactly the given reports, in any order.
func checkReports(t *testing.T, errs []error, want []report) {
	t.Helper()
	var strange, missing []string
	left := append([]report(nil), want...)
next:
	for _, err := range errs {
		var h *ws.HeaderError
		if errors.As(err, &h) {
			for i, r := range left {
				if r.op == h.Op && r.key == h.Key && strings.Contains(h.Func, r.who) && (r.who == "") == (h.Func == "") {
					left = append(left[:i], left[i+1:]...)
					continue next
				}
			}
			strange = append(strange, fmt.Sprintf("{%q, %q, %q}: %v", h.Op, h.Key, h.Func, err))
			continue
		}
		strange = append(strange, err.Error())
	}
	for _, r := range left {
		missing = append(missing, r.String())
	}
	if len(strange)+len(missing) > 0 {
		t.Errorf("reports:\n  unexpected: %s\n  missing: %s", strings.Join(strange, "\n              "), strings.Join(missing, "\n           "))
	}
}

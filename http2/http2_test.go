package http2_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOffer looks at the SETTINGS on the wire, each time in a process of its own (T1).
func TestOffer(t *testing.T) {
	build := func(tags string) string {
		exe := filepath.Join(t.TempDir(), "server.exe")
		if out, err := exec.Command("go", "build", "-tags="+tags, "-o", exe, "./testdata/server").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return exe
	}
	without, with := build(""), build("offer")
	for _, tt := range []struct{ name, server, godebug, want string }{
		{"without", without, "", "false "},
		{"import", with, "", "true http2xconnect=1"},
		{"environment", without, "http2xconnect=1", "true http2xconnect=1"},
		{"import_and_environment", with, "http2debug=0", "true http2debug=0,http2xconnect=1"},
		{"environment_refuses", with, "http2xconnect=0", "false http2xconnect=0"},
	} {
		t.Run("T1_"+tt.name, func(t *testing.T) {
			cmd := exec.Command(tt.server)
			cmd.Env = append(os.Environ(), "GODEBUG="+tt.godebug)
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if string(out) != tt.want || err != nil {
				t.Errorf("%q, %v: %s, and not %q", out, err, &errs, tt.want)
			}
		})
	}
}

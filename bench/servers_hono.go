//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// honoServers are Hono's WebSocket helper on each of its runtimes. Their
// programs are in the directory hono, their runtimes come from its package.json.
func honoServers() ([]server, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "hono")
	modules := filepath.Join(dir, "node_modules")
	if _, err := os.Stat(filepath.Join(modules, "hono")); err != nil {
		return nil, fmt.Errorf("Hono is not installed: run npm ci in %s", dir)
	}
	deno, err := filepath.Glob(filepath.Join(modules, "@deno", "linux-*", "deno")) // the command that npm installs is a script that starts this
	if err != nil || len(deno) == 0 {
		return nil, fmt.Errorf("Deno is not installed: run npm ci in %s", dir)
	}
	bun, err := filepath.EvalSymlinks(filepath.Join(modules, ".bin", "bun"))
	if err != nil {
		return nil, fmt.Errorf("Bun is not installed: run npm ci in %s", dir)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("Node is not installed: see https://nodejs.org")
	}
	s := func(runtime string, command ...string) server {
		return server{
			name: "hono-" + runtime, plain: true, echoOnly: true, noTLS: true,
			command: append(command, filepath.Join(dir, runtime+".js")),
		}
	}
	return []server{
		s("bun", bun, "run"),
		s("deno", deno[0], "run", "--allow-all", "--v8-flags=--expose-gc"),
		s("node", node, "--expose-gc"),
	}, nil
}

package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(".", os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "wsts:", err)
		os.Exit(1)
	}
}

// run is the command, for a working directory.
func run(dir string, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("wsts", flag.ExitOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "", "the `file` to write; default: standard output")
	check := flags.Bool("check", false, "write nothing, and fail if the file of -o is out of date")
	js := flags.Bool("js", false, "write JavaScript with types in comments")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: wsts [-o file] [-check] [-js] [packages]")
		flags.PrintDefaults()
	}
	flags.Parse(args)
	if *check && *out == "" {
		return errors.New("-check needs -o")
	}
	patterns := flags.Args()
	if len(patterns) == 0 {
		patterns = []string{"."}
	}
	text, err := generate(dir, patterns, *js)
	if err != nil {
		return err
	}
	if *out == "" {
		_, err := stdout.Write(text)
		return err
	}
	old, err := os.ReadFile(*out)
	switch {
	case err == nil && bytes.Equal(old, text):
		return nil // its time stays, for programs that watch it
	case *check:
		return cmp.Or(err, fmt.Errorf("%s is out of date: run wsts without -check", *out))
	}
	return os.WriteFile(*out, text, 0o644)
}

// Command wsts writes a typed client for pages from the Go package that defines a ws.Route: one TypeScript file
// without dependencies. It takes every package-level variable of type ws.Route, exported or not.
//
//	go run github.com/seed412db446/ws/wsts [-o file] [-check] [-js] [packages]
//
// Without -o it writes to standard output. Without packages it takes that of the working directory.
// In a Go file of the package, so that go generate writes it:
//
//	//go:generate go run github.com/seed412db446/ws/wsts -o ../web/routes.ts .
//
// A module that vendors its requirements adds it with go get -tool, and runs go tool wsts.
//
// -check writes nothing and fails if the file is out of date: for CI. -js writes JavaScript with types in comments
// for pages that are not built: editors and tsc -checkJs read these. A page then has
//
//	import { Chat } from "./routes.ts";
//	const chat = Chat.connect({ params: { room: "lobby" }, onMessage: (note) => show(note.text) });
//	chat.send({ text: "hello" });
//
// The options of connect are the same for every package: the file describes them.
//
// # Routes
//
// Path has to be a constant expression in the variable's composite literal: no code of the package runs. Its
// wildcards become the members of params: {name}, {name...} and chi's {name:regexp}.
//
// With ws.Tagged as the Codec, In and Out are unions of those of its types that Go can receive or send there, told
// apart by the tag. The call stands in the literal, or is the value of a variable of the package. With another Codec
// connect needs an option codec, and the types are still those of JSON.
//
// Constants of type websocket.StatusCode are exported as numbers.
//
// # Types
//
// A type is what encoding/json writes. Doc comments are copied.
//
//	bool, string                        boolean, string
//	numbers, json.Number                number; with 64 bits its comment says that JavaScript is exact up to 2**53
//	T with the tag json:",string"       string
//	*T                                  T | null
//	[]T, map[K]T                        T[] | null, { [key: string]: T } | null
//	[]byte                              string | null, in base64
//	[3]T                                [T, T, T], from the ninth element on T[]
//	struct                              an interface, with the fields of embedded structs
//	a struct without fields             { [key: string]: never }, for {} would be anything but null
//	omitempty, omitzero                 a member that may be absent, and is never null because of nil
//	time.Time, encoding.TextMarshaler   string
//	any, interfaces, json.RawMessage    unknown
//	json.Marshaler                      unknown, or what the field's tag tstype:"…" says
//	a generic type                      a generic type, or one for each of its instances if JSON's form depends on T
//	a type with constants               a union of them
//
// A string type with constants is a union of these, an integer type if there are two or more; not if they are
// three or more single bits (1, 2, 4), which may be combined. Where such a field can be zero without a constant for it, "" or 0 is added.
// Other integer types whose constants are not all values, such as units, need tstype:"number" at the field.
//
// A method of a pointer is called by encoding/json only if the value can be addressed; a field
// of such a type, by value, is a union of both results.
//
// func, chan, complex numbers, unsafe.Pointer and maps with other keys than strings, integers and TextMarshalers are
// errors, unless the tag json:"-" leaves the field out.
//
// A name that TypeScript or the file's last part has, or that is in two packages, gets its package's name
// before it: Options of package chat is ChatOptions.
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
		return nil // its modification time stays, for programs that watch it
	case *check:
		return cmp.Or(err, fmt.Errorf("%s is out of date: run wsts without -check", *out))
	}
	return os.WriteFile(*out, text, 0o644)
}

package main

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"math/bits"
	"slices"
	"strings"
)

// expr is a type in TypeScript.
type expr struct {
	text  string
	union bool // text is a union, without null
	null  bool // null is possible too
}

func (e expr) String() string {
	if e.null {
		return e.text + " | null"
	}
	return e.text
}

// operand is e as a part of a larger type.
func (e expr) operand() string {
	if e.null || e.union {
		return "(" + e.String() + ")"
	}
	return e.text
}

func (e expr) orNull() expr {
	e.null = e.text != "unknown" && e.text != "null"
	return e
}

func (e expr) or(text string) expr {
	if e.text == "unknown" || e.text == text {
		return e
	}
	return expr{text: e.text + " | " + text, union: true, null: e.null}
}

// place is where a type was met.
type place struct {
	path string // of fields, for errors
	at   token.Position
	addr addressability
}

// addressability says whether a value can be addressed: encoding/json calls methods of a pointer only then.
type addressability int

const (
	maybe addressability = iota // that differs from value to value
	yes
	no
)

func (p place) with(a addressability) place {
	p.addr = a
	return p
}

// known types have a MarshalJSON whose result is documented.
var known = map[string]string{
	"time.Time":                "string",
	"math/big.Int":             "number",
	"encoding/json.RawMessage": "unknown",
}

// notEnums are types with more values than constants.
var notEnums = map[string]bool{"time.Duration": true, "io/fs.FileMode": true, statusCode: true}

// typeName returns the import path and the name of a named type, "" for others.
func typeName(t types.Type) string {
	if n, ok := types.Unalias(t).(*types.Named); ok && n.Obj().Pkg() != nil {
		return n.Obj().Pkg().Path() + "." + n.Obj().Name()
	}
	return ""
}

var (
	jsonMarshaler = method("MarshalJSON", types.NewSlice(types.Typ[types.Byte]), types.Universe.Lookup("error").Type())
	textMarshaler = method("MarshalText", types.NewSlice(types.Typ[types.Byte]), types.Universe.Lookup("error").Type())
	isZeroer      = method("IsZero", types.Typ[types.Bool])
)

// method returns an interface with one method, which has no parameters.
func method(name string, results ...types.Type) *types.Interface {
	var vars []*types.Var
	for _, t := range results {
		vars = append(vars, types.NewVar(token.NoPos, nil, "", t))
	}
	sig := types.NewSignatureType(nil, nil, nil, nil, types.NewTuple(vars...), false)
	return types.NewInterfaceType([]*types.Func{types.NewFunc(token.NoPos, nil, name, sig)}, nil).Complete()
}

// marshals returns what a type's own MarshalJSON or MarshalText yields, "" if it has none.
func marshals(t types.Type, addressable bool) string {
	if addressable && !types.IsInterface(t) {
		t = types.NewPointer(t)
	}
	switch {
	case types.Implements(t, jsonMarshaler):
		m, _, _ := types.LookupFieldOrMethod(t, true, nil, "MarshalJSON")
		recv, _ := dereference(m.(*types.Func).Signature().Recv().Type())
		if ts, ok := known[typeName(recv)]; ok { // also of an embedded one
			return ts
		}
		return "unknown"
	case types.Implements(t, textMarshaler):
		return "string"
	}
	return ""
}

// ref returns how a value of type t looks in JSON as encoding/json writes it.
func (g *generator) ref(t types.Type, at place) expr {
	t = types.Unalias(t)
	if p, ok := t.(*types.TypeParam); ok {
		g.params[p] = true
		return expr{text: g.typeParam(p)}
	}
	if p, ok := t.Underlying().(*types.Pointer); ok {
		if g.pointers[t] { // type P *P can only be nil
			return expr{text: "null"}
		}
		g.pointers[t] = true
		defer delete(g.pointers, t)
		return g.ref(p.Elem(), at.with(yes)).orNull()
	}
	value, pointer := marshals(t, false), marshals(t, true)
	switch {
	case at.addr == yes && pointer != "":
		return expr{text: pointer}
	case value != "":
		return expr{text: value, null: value == "string" && types.IsInterface(t)}
	case at.addr == maybe && pointer == "unknown":
		return expr{text: pointer}
	case at.addr == maybe && pointer != "":
		return g.plain(t, at).or(pointer)
	}
	return g.plain(t, at)
}

// plain returns how a value of a type without methods of its own looks in JSON.
func (g *generator) plain(t types.Type, at place) expr {
	n, _ := t.(*types.Named)
	if typeName(t) == "encoding/json.Number" {
		return expr{text: "number"}
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return g.basic(t, u, at)
	case *types.Interface:
		return expr{text: "unknown"}
	case *types.Struct:
		if n != nil {
			return expr{text: g.named(n, at)}
		}
		return expr{text: g.object(u, at)}
	case *types.Slice:
		if isBytes(u) {
			return expr{text: "string", null: true}
		}
		if n != nil {
			return expr{text: g.named(n, at), null: true}
		}
		return g.composite(u, at).orNull()
	case *types.Map:
		if n != nil {
			return expr{text: g.named(n, at), null: true}
		}
		return g.composite(u, at).orNull()
	case *types.Array:
		if n != nil {
			return expr{text: g.named(n, at)}
		}
		return g.composite(u, at)
	}
	g.fail(at, "%s can't be JSON: leave it out by the tag `json:\"-\"`", types.TypeString(t, shortNames))
	return expr{text: "never"}
}

func (g *generator) basic(t types.Type, b *types.Basic, at place) expr {
	if g.isEnum(t) {
		return expr{text: g.named(t.(*types.Named), at)}
	}
	switch info := b.Info(); {
	case info&types.IsBoolean != 0:
		return expr{text: "boolean"}
	case info&types.IsString != 0:
		return expr{text: "string"}
	case info&(types.IsInteger|types.IsFloat) != 0 && b.Kind() != types.UnsafePointer:
		return expr{text: "number"}
	}
	g.fail(at, "%s can't be JSON: leave it out by the tag `json:\"-\"`", types.TypeString(t, shortNames))
	return expr{text: "never"}
}

// composite returns the type of slices, maps and arrays, without the null of the first two.
func (g *generator) composite(t types.Type, at place) expr {
	switch t := t.(type) {
	case *types.Slice:
		return expr{text: g.ref(t.Elem(), at.with(yes)).operand() + "[]"}
	case *types.Map:
		value := g.ref(t.Elem(), at.with(no))
		if key := g.key(t.Key(), at); key != "string" && key != "number" {
			return expr{text: "{ [key in " + key + "]?: " + value.String() + " }"}
		} else {
			return expr{text: "{ [key: " + key + "]: " + value.String() + " }"}
		}
	case *types.Array:
		e := g.withZero(t.Elem(), g.ref(t.Elem(), at))
		if t.Len() > 8 {
			return expr{text: e.operand() + "[]"}
		}
		return expr{text: "[" + strings.TrimSuffix(strings.Repeat(e.String()+", ", int(t.Len())), ", ") + "]"}
	}
	panic("unreachable")
}

// key returns the type of a map's keys.
func (g *generator) key(t types.Type, at place) string {
	t = types.Unalias(t)
	b, ok := t.Underlying().(*types.Basic)
	switch {
	case ok && b.Info()&types.IsString != 0: // even if it is a TextMarshaler
		if g.isEnum(t) {
			return g.named(t.(*types.Named), at)
		}
		return "string"
	case types.Implements(t, textMarshaler):
		return "string"
	case ok && b.Info()&types.IsInteger != 0 && b.Kind() != types.UnsafePointer:
		if g.isEnum(t) {
			return g.named(t.(*types.Named), at)
		}
		if wide(t) || b.Kind() == types.Uintptr { // TypeScript knows the keys of numbers by how JavaScript prints them
			return "string"
		}
		return "number"
	}
	g.fail(at, "a map with keys of type %s can't be JSON: leave it out by the tag `json:\"-\"`", types.TypeString(t, shortNames))
	return "string"
}

// isBytes reports whether a slice is a string in base64.
func isBytes(s *types.Slice) bool {
	b, ok := s.Elem().Underlying().(*types.Basic)
	return ok && b.Kind() == types.Uint8 && marshals(s.Elem(), true) == ""
}

// isEnum reports whether t is a union of its constants.
func (g *generator) isEnum(t types.Type) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && len(g.enum(n)) > 0
}

// enum returns the constants of which a value of type n is one. There are none where n is no string or integer,
// and where its constants are not all of its values: one number alone, the empty string alone, three or
// more bits (1, 2, 4), and units.
func (g *generator) enum(n *types.Named) []*types.Const {
	name := typeName(n)
	if list, ok := g.enums[name]; ok {
		return list
	}
	b, ok := n.Underlying().(*types.Basic)
	if !ok || name == "" || notEnums[name] || b.Info()&(types.IsString|types.IsInteger) == 0 {
		return nil
	}
	list := g.constants(n)
	bit, other := 0, 0
	for _, c := range list {
		switch v, _ := constant.Uint64Val(constant.ToInt(c.Val())); {
		case bits.OnesCount64(v) == 1:
			bit++
		case literal(c) != "0" && literal(c) != `""`:
			other++
		}
	}
	if b.Info()&types.IsString != 0 && other == 0 || b.Info()&types.IsInteger != 0 && (len(list) < 2 || bit > 2 && other == 0) {
		list = nil
	}
	g.enums[name] = list
	return list
}

// literal returns a constant as TypeScript writes it.
func literal(c *types.Const) string {
	if c.Val().Kind() == constant.String {
		return quote(constant.StringVal(c.Val()))
	}
	return c.Val().ExactString()
}

// withZero adds to e, which is the enum t, the zero value of t if no constant has it.
func (g *generator) withZero(t types.Type, e expr) expr {
	if !g.isEnum(t) {
		return e
	}
	n := types.Unalias(t).(*types.Named)
	if e.text != g.names[g.id(n)] { // its MarshalText decides
		return e
	}
	zero := "0"
	if n.Underlying().(*types.Basic).Info()&types.IsString != 0 {
		zero = `""`
	}
	for _, c := range g.enum(n) {
		if literal(c) == zero {
			return e
		}
	}
	return e.or(zero)
}

// shortNames qualifies names in errors as a Go programmer does.
func shortNames(p *types.Package) string { return p.Name() }

func (g *generator) fail(at place, format string, a ...any) {
	g.report(g.errorf(at.at, "%s: %s", at.path, fmt.Sprintf(format, a...)))
}

// report collects errors, each once.
func (g *generator) report(err error) {
	if !slices.ContainsFunc(g.errs, func(e error) bool { return e.Error() == err.Error() }) {
		g.errs = append(g.errs, err)
	}
}

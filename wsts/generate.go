package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

// generator collects what a file declares.
type generator struct {
	*loader
	plainJS bool

	names      map[string]string         // of declarations, by id
	reserved   map[string]bool           // names that nothing here may have
	used       map[string]bool           // names of what the file declares
	params     map[*types.TypeParam]bool // that are used
	paramNames map[string]bool
	queue      []pending
	enums      map[string][]*types.Const // by typeName
	pointers   map[types.Type]bool       // that are being followed
	errs       []error
	decls      []declaration
}

// pending is a type that has a name and needs its declaration.
type pending struct {
	*types.Named
	name string
	path string // of fields by which it was first met
}

// declaration is a type of the file: an object if fields is not nil, else an alias of text.
type declaration struct {
	name, doc string
	params    []string
	fields    []member
	text      string
}

// member is a field of an object.
type member struct {
	name, doc string
	optional  bool
	text      string
}

// generate returns the file for the packages that the patterns name.
func generate(dir string, patterns []string, plainJS bool) ([]byte, error) {
	l, roots, err := load(dir, patterns)
	if err != nil {
		return nil, err
	}
	g := &generator{
		loader:     l,
		plainJS:    plainJS,
		names:      make(map[string]string),
		reserved:   reserved(),
		used:       make(map[string]bool),
		params:     make(map[*types.TypeParam]bool),
		paramNames: make(map[string]bool),
		enums:      make(map[string][]*types.Const),
		pointers:   make(map[types.Type]bool),
	}
	var routes []*route
	var paths []string
	for _, s := range roots {
		list, errs := g.routes(s)
		routes = append(routes, list...)
		g.errs = append(g.errs, errs...)
		paths = append(paths, s.Path())
	}
	if len(routes) == 0 {
		return nil, fmt.Errorf("there is no variable of type ws.Route in %s", strings.Join(patterns, " "))
	}
	out := g.file(paths, routes, g.codes(roots))
	return out, errors.Join(g.errs...)
}

// codes returns the constants of type websocket.StatusCode.
func (g *generator) codes(roots []*source) (list []*types.Const) {
	for _, s := range roots {
		for _, c := range constantsOf(s.Package) {
			if typeName(c.Type()) == statusCode {
				list = append(list, c)
			}
		}
	}
	return list
}

// id tells declarations apart. Types are known by their names: a package that was named and is
// imported by another one has two types.Package.
func (g *generator) id(n *types.Named) string {
	if exact(n) {
		return typeName(n)
	}
	return types.TypeString(n, nil)
}

// exact reports whether a generic type in TypeScript says what this instance of it is. It does not where the
// argument decides more than a part's type: of what kind a map's keys are, whether ",string" has an effect,
// and that a slice of bytes is a string.
func exact(n *types.Named) bool {
	for t := range n.TypeArgs().Types() {
		if isBytes(types.NewSlice(t)) {
			return false
		}
	}
	return n.TypeArgs().Len() == 0 || !decided(n.Origin().Underlying(), []*types.Named{n.Origin()})
}

// decided reports whether type arguments decide what t, of which around are made, is in JSON.
func decided(t types.Type, around []*types.Named) bool {
	switch t := types.Unalias(t).(type) {
	case *types.Map:
		_, ok := types.Unalias(t.Key()).(*types.TypeParam)
		return ok || decided(t.Elem(), around)
	case *types.Struct:
		return slices.ContainsFunc(jsonFields(t), func(f field) bool { return f.decided || decided(f.Type(), around) })
	case interface{ Elem() types.Type }: // pointers, slices and arrays
		return decided(t.Elem(), around)
	case *types.Named:
		o := t.Origin()
		return t.TypeArgs().Len() > 0 && !slices.Contains(around, o) && decided(t.Underlying(), append(slices.Clip(around), o))
	}
	return false
}

// named returns the reference to a type that has a declaration.
func (g *generator) named(n *types.Named, at place) string {
	id, generic := g.id(n), n.TypeArgs().Len() > 0 && exact(n)
	if g.names[id] == "" {
		name, declared := n.Obj().Name(), n
		if generic {
			declared = n.Origin()
		}
		for t := range n.TypeArgs().Types() {
			if !generic {
				name += title(types.TypeString(t, func(*types.Package) string { return "" }))
			}
		}
		g.names[id] = g.unique(name, n.Obj().Pkg().Name())
		g.queue = append(g.queue, pending{declared, g.names[id], at.path})
	}
	if !generic {
		return g.names[id]
	}
	var args []string
	for t := range n.TypeArgs().Types() {
		args = append(args, g.withZero(t, g.ref(t, at.with(maybe))).String())
	}
	return g.names[id] + "<" + strings.Join(args, ", ") + ">"
}

// unique returns a name that is not taken yet: name, or with another one before it, or with a number.
func (g *generator) unique(name, before string) string {
	taken := func(s string) bool { return g.reserved[s] || g.used[s] || g.paramNames[s] }
	if taken(name) {
		long := title(before) + title(name)
		name = long
		for i := 2; taken(name); i++ {
			name = long + strconv.Itoa(i)
		}
	}
	g.used[name] = true
	return name
}

// typeParam returns the name of a type parameter. It hides a declaration of the same name.
func (g *generator) typeParam(p *types.TypeParam) string {
	name := p.Obj().Name()
	if g.used[name] || keywords[name] {
		return "$" + name
	}
	g.paramNames[name] = true
	return name
}

// declare adds the declaration of a type.
func (g *generator) declare(p pending) {
	d := declaration{name: p.name, doc: g.doc(p.Obj())}
	at := place{path: p.path, at: g.position(p.Obj())}
	switch u := p.Underlying().(type) {
	case *types.Struct:
		d.fields = g.members(u, at)
	case *types.Basic:
		d.text, d.doc = g.union(p.Named, d.doc)
	default:
		d.text = g.composite(u, at).String()
	}
	for t := range p.TypeParams().TypeParams() {
		if p.TypeArgs().Len() > 0 { // this is an instance
			break
		}
		name := g.typeParam(t)
		if !g.params[t] {
			name = "_" + name // or it would be an error that nothing uses it
		}
		d.params = append(d.params, name)
	}
	g.decls = append(g.decls, d)
}

// union returns an enum's constants. What numbers mean is added to its comment.
func (g *generator) union(n *types.Named, doc string) (text, comment string) {
	var values, meanings []string
	for _, c := range g.enum(n) {
		values = append(values, literal(c))
		meanings = append(meanings, literal(c)+": "+c.Name())
	}
	if n.Underlying().(*types.Basic).Info()&types.IsInteger != 0 {
		doc = strings.TrimSpace(doc + "\n\n" + strings.Join(meanings, "\n"))
	}
	return strings.Join(values, " | "), doc
}

// members returns the fields of a struct.
func (g *generator) members(s *types.Struct, at place) []member {
	list := []member{}
	for _, f := range jsonFields(s) {
		m := member{name: f.name, doc: g.doc(f.Var), optional: f.absent}
		e := g.field(f, place{at.path + "." + f.Name(), g.position(f), at.addr})
		if f.tstype == "" && !f.quoted && wide(f.Type()) && e.text != "unknown" && !g.isEnum(f.Type()) {
			m.doc = strings.TrimSpace(m.doc + "\n\nIt is exact up to 2**53: Go has more bits than JavaScript's numbers.")
		}
		m.text = e.String()
		list = append(list, m)
	}
	return list
}

// field returns the type of a field.
func (g *generator) field(f field, at place) expr {
	t := f.Type()
	pointer, isPointer := t.Underlying().(*types.Pointer)
	omitted := f.nonempty || f.nonzero
	if isPointer && omitted {
		t, at = pointer.Elem(), at.with(yes) // which may be null itself: *[]string
	}
	var e expr
	switch {
	case f.tstype != "" && possible(t):
		return expr{text: f.tstype}
	case f.quoted && marshals(t, at.addr != no) == "":
		e = expr{text: "string", null: isPointer}
	default:
		e = g.ref(t, at)
	}
	if !omitted {
		e = g.withZero(t, e)
	}
	switch t.Underlying().(type) {
	case *types.Slice, *types.Map, *types.Interface:
		e.null = e.null && (isPointer || !omitted)
	case *types.Basic:
		e.null = e.null && !omitted
	}
	return e
}

// possible reports whether a type may be JSON at all.
func possible(t types.Type) bool {
	switch u := t.Underlying().(type) {
	case *types.Signature, *types.Chan:
		return marshals(t, true) != ""
	case *types.Basic:
		return u.Info()&types.IsComplex == 0 && u.Kind() != types.UnsafePointer || marshals(t, true) != ""
	}
	return true
}

// message returns the type of a route's messages.
func (g *generator) message(r *route, t types.Type, at place) string {
	if r.key == "" {
		return g.ref(t, at).String()
	}
	var kinds []string
	for _, m := range r.members {
		elem, _ := dereference(m)
		n, ok := elem.(*types.Named)
		if !ok || !types.AssignableTo(m, t) && (at.addr == yes || !types.AssignableTo(n, t) && !types.AssignableTo(types.NewPointer(n), t)) {
			continue
		}
		if at.addr == no { // v may be a pointer
			at = at.with(maybe)
		}
		object := g.ref(n, at).operand()
		if object == "unknown" {
			object = "{ [key: string]: unknown }"
		}
		kinds = append(kinds, "({ "+quoteName(r.key)+": "+quote(n.Obj().Name())+" } & "+object+")")
	}
	if len(kinds) == 0 {
		g.report(g.errorf(at.at, "the route %s: none of the types given to Tagged is a %s", r.Name(), types.TypeString(t, shortNames)))
		return "never"
	}
	n, ok := types.Unalias(t).(*types.Named)
	if !ok || !types.IsInterface(t) || n.TypeArgs().Len() > 0 || n.Obj().Pkg() == nil {
		return strings.Join(kinds, " | ")
	}
	return g.alias(r, n, kinds)
}

// alias returns the name of an interface whose messages are of these kinds. Where they are others it has the route's name before it.
func (g *generator) alias(r *route, n *types.Named, kinds []string) string {
	text := "\n\t| " + strings.Join(kinds, "\n\t| ")
	id := typeName(n) + text
	if g.names[id] == "" {
		g.names[id] = g.unique(n.Obj().Name(), r.Name())
		g.decls = append(g.decls, declaration{name: g.names[id], doc: g.doc(n.Obj()), text: text})
	}
	return g.names[id]
}

// constantsOf returns a package's constants in the order of their declaration.
func constantsOf(p *types.Package) (list []*types.Const) {
	for _, name := range p.Scope().Names() {
		if c, ok := p.Scope().Lookup(name).(*types.Const); ok {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *types.Const) int { return cmp.Compare(a.Pos(), b.Pos()) })
	return list
}

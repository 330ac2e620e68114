package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

const (
	wsPath     = "github.com/seed412db446/ws"
	statusCode = "github.com/coder/websocket.StatusCode"
)

// route is a variable of type ws.Route, as its literal says.
type route struct {
	types.Object
	at      token.Position
	in, out types.Type
	path    string
	params  []string

	custom  bool         // a Codec that this program knows nothing of
	key     string       // of the Codec that ws.Tagged made, and
	members []types.Type // what it was given
}

// routes returns the routes of a package, in the order of their declaration.
func (l *loader) routes(s *source) (list []*route, errs []error) {
	vars, values := variables(s)
	for _, v := range vars {
		in, out, ok := routeTypes(v)
		if !ok {
			continue
		}
		r := &route{Object: v, at: l.position(v), in: in, out: out}
		if err := l.literal(r, s, values); err != nil {
			errs = append(errs, err)
		}
		list = append(list, r)
	}
	return list, errs
}

// variables returns the variables at the package's top level, and the values of those that have one of their own.
func variables(s *source) (list []types.Object, values map[types.Object]ast.Expr) {
	values = make(map[types.Object]ast.Expr)
	for _, f := range s.files {
		for _, d := range f.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.VAR {
				continue
			}
			for _, spec := range decl.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, id := range spec.Names {
					o := s.info.Defs[id]
					list = append(list, o)
					if len(spec.Values) == len(spec.Names) {
						values[o] = ast.Unparen(spec.Values[i])
					}
				}
			}
		}
	}
	return list, values
}

// routeTypes returns In and Out of a variable of type Route or *Route.
func routeTypes(o types.Object) (in, out types.Type, ok bool) {
	if o.Name() == "_" {
		return nil, nil, false
	}
	t := types.Unalias(o.Type())
	if p, ok := t.(*types.Pointer); ok {
		t = types.Unalias(p.Elem())
	}
	n, ok := t.(*types.Named)
	if !ok || typeName(n) != wsPath+".Route" || n.TypeArgs().Len() != 2 {
		return nil, nil, false
	}
	return n.TypeArgs().At(0), n.TypeArgs().At(1), true
}

// literal reads what the variable's composite literal says. No code of the package runs.
func (l *loader) literal(r *route, s *source, values map[types.Object]ast.Expr) error {
	value := values[r.Object]
	if u, ok := value.(*ast.UnaryExpr); ok && u.Op == token.AND {
		value = ast.Unparen(u.X)
	}
	lit, ok := value.(*ast.CompositeLit)
	if !ok {
		return l.errorf(r.at, "the route %s is no literal: write ws.Route[In, Out]{Path: \"/…\"} here", r.Name())
	}
	fields := make(map[string]ast.Expr)
	for i, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			fields[kv.Key.(*ast.Ident).Name] = ast.Unparen(kv.Value)
		} else {
			fields[[]string{"Path", "Codec"}[i]] = ast.Unparen(e)
		}
	}
	if e := fields["Codec"]; e != nil && !s.info.Types[e].IsNil() {
		if err := l.codec(r, s, values, e); err != nil {
			return err
		}
	}
	e := fields["Path"]
	if e == nil {
		return l.errorf(r.at, "the route %s has no Path", r.Name())
	}
	path := s.info.Types[e].Value
	if path == nil {
		return l.errorf(l.fset.Position(e.Pos()), "the Path of the route %s is no constant expression", r.Name())
	}
	r.path = constant.StringVal(path)
	var err error
	if r.params, err = wildcards(r.path); err != nil {
		return l.errorf(l.fset.Position(e.Pos()), "the Path of the route %s: %w", r.Name(), err)
	}
	return nil
}

// codec reads the Codec of a route: a call of ws.Tagged, or a variable of this package that is made by one.
func (l *loader) codec(r *route, s *source, values map[types.Object]ast.Expr, e ast.Expr) error {
	if id, ok := e.(*ast.Ident); ok && values[s.info.Uses[id]] != nil {
		e = values[s.info.Uses[id]]
	}
	call, ok := e.(*ast.CallExpr)
	if !ok || !isTagged(s.info, call) {
		r.custom = true
		return nil
	}
	key := s.info.Types[call.Args[0]].Value
	if key == nil || call.Ellipsis.IsValid() {
		return l.errorf(l.fset.Position(call.Pos()), "Tagged of the route %s: the key must be a constant and the types must be listed one by one", r.Name())
	}
	r.key = constant.StringVal(key)
	for _, a := range call.Args[1:] {
		r.members = append(r.members, types.Unalias(s.info.Types[a].Type))
	}
	return nil
}

func isTagged(info *types.Info, call *ast.CallExpr) bool {
	fun := ast.Unparen(call.Fun)
	if sel, ok := fun.(*ast.SelectorExpr); ok {
		fun = sel.Sel
	}
	id, ok := fun.(*ast.Ident)
	if !ok {
		return false
	}
	f, ok := info.Uses[id].(*types.Func)
	return ok && f.FullName() == wsPath+".Tagged"
}

// wildcards returns the parameters of a path in their order: of {name}, {name...} and {name:regexp}, in which
// braces may be nested, but not of {$}.
func wildcards(path string) (names []string, err error) {
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q does not begin with a slash", path)
	}
	depth, start := 0, 0
	for i, c := range path {
		switch {
		case c == '{':
			if depth++; depth == 1 {
				start = i + 1
			}
		case c == '}' && depth > 0:
			depth--
			name, _, _ := strings.Cut(path[start:i], ":")
			name = strings.TrimSuffix(name, "...")
			if depth == 0 && name != "" && name != "$" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if depth > 0 {
		return nil, fmt.Errorf("a wildcard of %q does not end", path)
	}
	return names, nil
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// loader knows the packages that were named and all that they import. Those that were named are
// read from source, for a Route's path is in no export data; the others only where export data
// is too little: it has neither comments nor unexported constants.
type loader struct {
	dir      string
	fset     *token.FileSet
	listed   map[string]*listed // by import path
	importer types.Importer
	sources  map[string]*source  // by import path
	docs     map[string]docIndex // by file
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles, CgoFiles       []string
	DepOnly                 bool
}

// source is a package with its syntax.
type source struct {
	*types.Package
	files []*ast.File
	info  *types.Info
}

// load runs "go list" in dir and returns the packages that the patterns name, by their paths.
func load(dir string, patterns []string) (l *loader, roots []*source, err error) {
	l = &loader{
		dir:     dir,
		fset:    token.NewFileSet(),
		listed:  make(map[string]*listed),
		sources: make(map[string]*source),
		docs:    make(map[string]docIndex),
	}
	paths, err := l.list(patterns)
	if err != nil {
		return nil, nil, err
	}
	l.importer = importer.ForCompiler(l.fset, "gc", func(path string) (io.ReadCloser, error) {
		if p := l.listed[path]; p != nil && p.Export != "" {
			return os.Open(p.Export)
		}
		return nil, fmt.Errorf("go list has no export data of %s", path)
	})
	for _, path := range paths {
		s, err := l.source(path)
		if err != nil {
			return nil, nil, err
		}
		roots = append(roots, s)
	}
	return l, roots, nil
}

func (l *loader) list(patterns []string) (roots []string, err error) {
	args := []string{"list", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles,DepOnly", "-deps", "-export", "--"}
	cmd := exec.Command("go", append(args, patterns...)...)
	cmd.Dir = l.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(listed)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			slices.Sort(roots)
			return roots, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		l.listed[p.ImportPath] = p
		if !p.DepOnly {
			roots = append(roots, p.ImportPath)
		}
	}
}

// source returns the package with its syntax. Bodies of functions are not checked.
func (l *loader) source(path string) (*source, error) {
	if s, ok := l.sources[path]; ok {
		return s, nil
	}
	p := l.listed[path]
	if p == nil {
		return nil, fmt.Errorf("go list has no package %s", path)
	}
	s := &source{info: &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue),
		Defs:  make(map[*ast.Ident]types.Object),
		Uses:  make(map[*ast.Ident]types.Object),
	}}
	for _, name := range append(p.GoFiles, p.CgoFiles...) {
		f, err := parser.ParseFile(l.fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, f)
		l.docs[filepath.Join(p.Dir, name)] = indexDocs(l.fset, f)
	}
	var err error
	config := &types.Config{Importer: l.importer, IgnoreFuncBodies: true, FakeImportC: true}
	if s.Package, err = config.Check(path, l.fset, s.files, s.info); err != nil {
		return nil, err
	}
	l.sources[path] = s
	return s, nil
}

// constants returns the constants of type n at its package's top level, in the order of their
// declaration, each value once.
func (l *loader) constants(n *types.Named) (list []*types.Const) {
	pkg := n.Obj().Pkg()
	if s, err := l.source(pkg.Path()); err == nil {
		pkg = s.Package
	}
	o, ok := pkg.Scope().Lookup(n.Obj().Name()).(*types.TypeName)
	if !ok {
		return nil
	}
	seen := make(map[string]bool)
	for _, c := range constantsOf(pkg) {
		if v := c.Val().ExactString(); types.Identical(c.Type(), o.Type()) && !seen[v] {
			seen[v] = true
			list = append(list, c)
		}
	}
	return list
}

// position says where o is. Export data has no columns, and may have a file's name without its directory.
func (l *loader) position(o types.Object) token.Position {
	p := l.fset.Position(o.Pos())
	if from := l.listed[o.Pkg().Path()]; from != nil {
		p.Filename = filepath.Join(from.Dir, filepath.Base(p.Filename))
	}
	if p.Column == 1 {
		p.Column = 0
	}
	return p
}

// errorf makes an error with a position, whose file is relative to the working directory if that is shorter.
func (l *loader) errorf(p token.Position, format string, a ...any) error {
	dir, _ := filepath.Abs(l.dir)
	if rel, err := filepath.Rel(dir, p.Filename); err == nil && len(rel) < len(p.Filename) {
		p.Filename = rel
	}
	return fmt.Errorf("%v: %w", p, fmt.Errorf(format, a...))
}

// docIndex has the comments of a file by the line and the name of what they describe: positions in export
// data have no columns.
type docIndex map[docKey]string

type docKey struct {
	line  int
	name  string
	field bool
}

// doc returns the comment of a declaration or a field, "" if it has none.
func (l *loader) doc(o types.Object) string {
	p := l.position(o)
	index, ok := l.docs[p.Filename]
	if !ok {
		// A file that can't be read has no comments.
		if f, err := parser.ParseFile(l.fset, p.Filename, nil, parser.ParseComments|parser.SkipObjectResolution); err == nil {
			index = indexDocs(l.fset, f)
		}
		l.docs[p.Filename] = index
	}
	v, ok := o.(*types.Var)
	return index[docKey{p.Line, o.Name(), ok && v.IsField()}]
}

func indexDocs(fset *token.FileSet, f *ast.File) docIndex {
	index := make(docIndex)
	add := func(id *ast.Ident, field bool, groups ...*ast.CommentGroup) {
		for _, g := range groups {
			if text := strings.TrimSpace(g.Text()); text != "" {
				index[docKey{fset.Position(id.Pos()).Line, id.Name, field}] = text
				return
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			for _, s := range n.Specs {
				var of *ast.CommentGroup // of a group it describes no single name
				if len(n.Specs) == 1 {
					of = n.Doc
				}
				switch s := s.(type) {
				case *ast.TypeSpec:
					add(s.Name, false, s.Doc, of, s.Comment)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						add(id, false, s.Doc, of, s.Comment)
					}
				}
			}
		case *ast.Field:
			for _, id := range n.Names {
				add(id, true, n.Doc, n.Comment)
			}
			if id := embedded(n.Type); n.Names == nil && id != nil {
				add(id, true, n.Doc, n.Comment)
			}
		}
		return true
	})
	return index
}

// embedded returns the name of an embedded field of this type.
func embedded(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.StarExpr:
		return embedded(e.X)
	case *ast.SelectorExpr:
		return e.Sel
	case *ast.IndexExpr:
		return embedded(e.X)
	case *ast.IndexListExpr:
		return embedded(e.X)
	}
	return nil
}

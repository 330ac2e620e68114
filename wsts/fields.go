package main

import (
	"cmp"
	"go/types"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// field is one that encoding/json writes, by its rules.
type field struct {
	*types.Var
	name     string
	tstype   string
	index    []int // as in reflect.StructField
	tagged   bool  // its name is in the tag
	absent   bool  // may be left out of the object
	nonempty bool  // is left out when it is empty (or nil, false, 0)
	nonzero  bool  // is left out when it is its type's zero value
	quoted   bool  // is a string in JSON
	decided  bool  // is quoted or not, as the type argument decides
}

// jsonFields returns the fields of a struct that encoding/json writes, in its order, those of embedded structs included.
func jsonFields(s *types.Struct) []field {
	byName := make(map[string][]field)
	for _, f := range collect(s, nil, false, nil) {
		byName[f.name] = append(byName[f.name], f)
	}
	var list []field
	for same := range maps.Values(byName) {
		// The shallowest has the name; of several the one whose tag says so.
		slices.SortFunc(same, func(a, b field) int {
			return cmp.Or(cmp.Compare(len(a.index), len(b.index)), -compareBool(a.tagged, b.tagged))
		})
		if len(same) == 1 || len(same[0].index) != len(same[1].index) || same[0].tagged != same[1].tagged {
			list = append(list, same[0])
		}
	}
	slices.SortFunc(list, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return list
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// collect returns the fields of s and of what it embeds. absent says that s is behind a pointer, around
// are the structs that embed it.
func collect(s *types.Struct, index []int, absent bool, around []*types.Struct) (list []field) {
	if slices.ContainsFunc(around, func(o *types.Struct) bool { return types.Identical(o, s) }) {
		return nil
	}
	around = append(slices.Clip(around), s)
	for i := range s.NumFields() {
		v := s.Field(i)
		tag := reflect.StructTag(s.Tag(i))
		if tag.Get("json") == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag.Get("json"), ",")
		if !validName(name) {
			name = ""
		}
		at := append(slices.Clip(index), i)
		if v.Embedded() {
			t, pointer := dereference(v.Type())
			inner, ok := t.Underlying().(*types.Struct)
			if ok && name == "" {
				list = append(list, collect(inner, at, absent || pointer, around)...)
			}
			if ok && name == "" || !ok && !v.Exported() {
				continue
			}
		} else if !v.Exported() {
			continue
		}
		f := field{Var: v, name: cmp.Or(name, v.Name()), tstype: tag.Get("tstype"), index: at, tagged: name != "", absent: absent}
		f.options(strings.Split(options, ","))
		list = append(list, f)
	}
	return list
}

// options applies omitempty, omitzero and string.
func (f *field) options(options []string) {
	t := f.Type().Underlying()
	if slices.Contains(options, "omitempty") {
		switch u := t.(type) {
		case *types.Struct:
		case *types.Array:
			f.absent = f.absent || u.Len() == 0
		default:
			f.absent, f.nonempty = true, true
		}
	}
	if slices.Contains(options, "omitzero") {
		f.absent = true
		// A method IsZero may decide otherwise, but is not asked about nil pointers.
		_, pointer := t.(*types.Pointer)
		f.nonzero = pointer || !types.Implements(f.Type(), isZeroer) && !types.Implements(types.NewPointer(f.Type()), isZeroer)
	}
	if slices.Contains(options, "string") {
		if p, ok := types.Unalias(f.Type()).(*types.Pointer); ok {
			t = p.Elem().Underlying()
		}
		_, f.decided = types.Unalias(f.Type()).(*types.TypeParam)
		b, ok := t.(*types.Basic)
		f.quoted = ok && b.Info()&(types.IsBoolean|types.IsInteger|types.IsFloat|types.IsString) != 0
	}
}

// validName is what encoding/json takes for a name in a tag.
func validName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	})
}

// dereference returns what t points to, or t.
func dereference(t types.Type) (elem types.Type, pointer bool) {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		return types.Unalias(p.Elem()), true
	}
	return types.Unalias(t), false
}

// wide reports whether values of type t are, or have elements that are, integers beyond 2**53.
func wide(t types.Type) bool {
	t = types.Unalias(t)
	if typeName(t) == "math/big.Int" {
		return true
	}
	if marshals(t, true) != "" {
		return false
	}
	switch u := t.Underlying().(type) {
	case *types.Pointer:
		return typeName(t) == "" && wide(u.Elem())
	case *types.Basic:
		return u.Kind() == types.Int64 || u.Kind() == types.Uint64
	case *types.Slice:
		return typeName(t) == "" && wide(u.Elem())
	case *types.Array:
		return typeName(t) == "" && wide(u.Elem())
	case *types.Map:
		return typeName(t) == "" && wide(u.Elem())
	}
	return false
}

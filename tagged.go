package ws

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

// Tagged returns a Codec for messages of several types: In and Out of the [Route]
// are interfaces that these types implement. Each message is a JSON object in a text
// message, with one more member, key, whose value is the name of the type:
//
//	ws.Tagged("type", Move{}, Say{})    // {"type":"Move","x":1,"y":2}, {"type":"Say","text":"hi"}
//
// The types of both directions may be given to one Codec. Values are received as they
// are given here: Move{} as a Move, &Move{} as a *Move. Either may be sent.
//
// A message does not decode, and goes to RouteEvents.OnInvalid, if key is missing, appears twice, is no
// string, or names a type that was not given or is not received in this direction. key is
// compared exactly, unlike the names of fields. Send fails if the value's
// type was not given, or if its MarshalJSON yields no object, or one that has the key.
// An UnmarshalJSON gets the whole object.
//
// Tagged panics, as [http.ServeMux.Handle] does, if a type is no struct
// and has no MarshalJSON, has no name, is generic, has a field whose name in JSON is the
// key (in any case, because encoding/json ignores case), or has the name of another.
func Tagged(key string, types ...any) Codec {
	c := &taggedCodec{key: key, byName: make(map[string]reflect.Type), heads: make(map[reflect.Type]head)}
	k, err := json.Marshal(key)
	if key == "" || err != nil {
		panic("ws: Tagged needs a key")
	}
	for _, v := range types {
		t := base(reflect.TypeOf(v))
		custom, err := checkTagged(key, t)
		if err != nil {
			panic(fmt.Sprintf("ws: Tagged can't take the type %T: %v", v, err))
		}
		if other := c.byName[t.Name()]; other != nil {
			panic(fmt.Sprintf("ws: Tagged can't take the type %T: %v has the same name", v, other))
		}
		c.byName[t.Name()] = reflect.TypeOf(v)
		c.heads[t] = head{slices.Clip([]byte("{" + string(k) + `:"` + t.Name() + `"`)), custom}
	}
	return c
}

// base returns what t points to, or t.
func base(t reflect.Type) reflect.Type {
	if t != nil && t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// checkTagged reports what is wrong with a type, and whether its JSON is of its own making.
func checkTagged(key string, t reflect.Type) (custom bool, err error) {
	if t == nil || t.Name() == "" {
		return false, errors.New("it has no name")
	}
	if strings.Contains(t.Name(), "[") {
		return false, errors.New("it is generic; define a type for it")
	}
	p := reflect.PointerTo(t)
	marshals := p.Implements(reflect.TypeFor[json.Marshaler]())
	unmarshals := p.Implements(reflect.TypeFor[json.Unmarshaler]())
	if !marshals && (t.Kind() != reflect.Struct || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())) {
		return false, errors.New("it is no object in JSON")
	}
	if unmarshals {
		return true, nil
	}
	// encoding/json is asked for the field: what embedding, tags and case make of names, it knows.
	probe, _ := json.Marshal(map[string]any{key: nil})
	strict := json.NewDecoder(bytes.NewReader(probe))
	strict.DisallowUnknownFields()
	if strict.Decode(reflect.New(t).Interface()) == nil || json.Unmarshal(probe, reflect.New(t).Interface()) != nil {
		return false, fmt.Errorf("its field %q has the tag's name", key)
	}
	return marshals, nil
}

type taggedCodec struct {
	key    string
	byName map[string]reflect.Type // as they were given
	heads  map[reflect.Type]head   // by what they point to
}

// head is how messages of one type begin.
type head struct {
	b      []byte // up to the tag's value, without room for more
	custom bool   // the type makes its JSON itself
}

func (c *taggedCodec) Encode(v any) (Message, error) {
	h, ok := c.heads[base(reflect.TypeOf(v))]
	if !ok {
		return Message{}, fmt.Errorf("ws: can't encode the message: %T is none of the types given to Tagged", v)
	}
	b := appender(h.b)
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return Message{}, fmt.Errorf("ws: can't encode the message: %w", err)
	}
	p := b[:len(b)-1] // Encode adds a line break
	object := p[len(h.b):]
	if object[0] != '{' {
		return Message{}, fmt.Errorf("ws: can't encode the message: the %T is no object in JSON", v)
	}
	if h.custom {
		if len(members(object, c.key)) > 0 {
			return Message{}, fmt.Errorf("ws: can't encode the message: the %T has a member %q already", v, c.key)
		}
	}
	if object[0] = ','; len(object) == len("{}") {
		p = append(p[:len(h.b)], '}')
	}
	return Message{websocket.MessageText, p}, nil
}

// appender is an io.Writer that appends.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func (c *taggedCodec) Decode(m Message, v any) error {
	var name string
	switch tags := members(m.Data, c.key); {
	case len(tags) == 0:
		return fmt.Errorf("ws: can't decode the message: it has no member %q", c.key)
	case len(tags) > 1:
		return fmt.Errorf("ws: can't decode the message: it has %q more than once", c.key)
	default:
		if err := json.NewDecoder(bytes.NewReader(tags[0])).Decode(&name); err != nil {
			return fmt.Errorf("ws: can't decode the message: its %q: %w", c.key, err)
		}
	}
	t, ok := c.byName[name]
	if !ok {
		return fmt.Errorf("ws: can't decode the message: its %q is %.40q, which was not given to Tagged", c.key, name)
	}
	dst := reflect.ValueOf(v).Elem()
	if !t.AssignableTo(dst.Type()) {
		return fmt.Errorf("ws: can't decode the message: its %q is %q, which is no %v", c.key, name, dst.Type())
	}
	p := reflect.New(base(t))
	if err := m.Decode(p.Interface()); err != nil {
		return err
	}
	if t.Kind() != reflect.Pointer {
		p = p.Elem()
	}
	dst.Set(p)
	return nil
}

// members returns, for the members of the object data that are called key, but for no more
// than two, the text from their value on. data need not be valid: who decodes it finds out.
func members(data []byte, key string) (values [][]byte) {
	depth := 0
	for i := 0; i < len(data) && len(values) < 2; i++ {
		switch data[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			begin := i
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if depth != 1 || i >= len(data) {
				continue
			}
			after := bytes.TrimLeft(data[i+1:], " \t\r\n")
			if len(after) > 0 && after[0] == ':' && means(data[begin:i+1], key) {
				values = append(values, after[1:])
			}
		}
	}
	return values
}

// means reports whether the JSON string s, with its quotes, is key.
func means(s []byte, key string) bool {
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s[1:len(s)-1]) == key
	}
	var unquoted string
	return json.Unmarshal(s, &unquoted) == nil && unquoted == key
}

//go:build !js

package ws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/seed412db446/ws"
)

type (
	command interface{ command() }
	move    struct {
		X, Y int
		To   string `json:"to,omitempty"`
	}
	say     struct{ Text string }
	stop    struct{}
	event   interface{ event() }
	moved   struct{ Who string }
	stopped struct{ Why error }

	ownJSON    struct{ JSON string } // MarshalJSON yields JSON
	ownObject  struct{ s string }    // and UnmarshalJSON keeps all
	box[T any] struct{ V T }
)

func (move) command()      {}
func (*say) command()      {}
func (stop) command()      {}
func (moved) event()       {}
func (stopped) event()     {}
func (ownJSON) command()   {}
func (ownObject) command() {}

func (o ownJSON) MarshalJSON() ([]byte, error)    { return []byte(o.JSON), nil }
func (o ownObject) MarshalJSON() ([]byte, error)  { return json.Marshal(map[string]string{"s": o.s}) }
func (o *ownObject) UnmarshalJSON(b []byte) error { o.s = string(b); return nil }

func TestTagged(t *testing.T) {
	t.Parallel()
	codec := ws.Tagged("type", move{}, &say{}, stop{}, ownJSON{}, ownObject{}, moved{}, stopped{})
	for _, tt := range []struct {
		name string
		sent any
		wire string
		got  command // nil: sent
	}{
		{"D4_value", move{X: 1, Y: -2, To: "<ü>"}, `{"type":"move","X":1,"Y":-2,"to":"\u003cü\u003e"}`, nil},
		{"D4_pointer_of_a_value", &move{X: 1}, `{"type":"move","X":1,"Y":0}`, move{X: 1}},
		{"D4_pointer", &say{"hi"}, `{"type":"say","Text":"hi"}`, nil},
		{"D4_value_of_a_pointer", say{"hi"}, `{"type":"say","Text":"hi"}`, &say{"hi"}},
		{"D4_empty", stop{}, `{"type":"stop"}`, nil},
		{"D4_MarshalJSON", ownObject{"a"}, `{"type":"ownObject","s":"a"}`, ownObject{`{"type":"ownObject","s":"a"}`}},
		{"D4_large", move{To: strings.Repeat("x", 1<<20)}, `{"type":"move","X":0,"Y":0,"to":"` + strings.Repeat("x", 1<<20) + `"}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := codec.Encode(tt.sent)
			if err != nil || m.Type != websocket.MessageText || m.String() != tt.wire {
				t.Fatalf("Encode: %v %.100q, %v", m.Type, m, err)
			}
			want := tt.got
			if want == nil {
				want = tt.sent.(command)
			}
			var got command
			if err := codec.Decode(m, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Decode: %.100v, %v", got, err)
			}
		})
	}
}

// The key is a member's name like any other.
func TestTaggedKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"type", "$", `"`, `\`, "<ü>", "a b", "type,omitempty"} {
		codec := ws.Tagged(key, move{})
		m, err := codec.Encode(move{X: 7})
		var got any
		if err := errors.Join(err, codec.Decode(m, &got)); err != nil || got != (move{X: 7}) || !json.Valid(m.Data) {
			t.Errorf("D4: with key %q: %q is %v, %v", key, m, got, err)
		}
	}
}

func TestTaggedDecode(t *testing.T) {
	t.Parallel()
	codec := ws.Tagged("type", move{}, &say{}, ownObject{}, moved{})
	deep := func(n int) string {
		return `{"type":"move","a":` + strings.Repeat(`{"type":[`, n) + strings.Repeat(`]}`, n) + `}`
	}
	for _, tt := range []struct {
		name, in string
		want     command // nil: an error
	}{
		{"first", `{"type":"move","X":1}`, move{X: 1}},
		{"last", `{"X":1,"Y":2,"type":"move"}`, move{X: 1, Y: 2}},
		{"spaces", " \t\r\n{ \"X\" : 1 , \"type\" \t\r\n: \n\"move\" } \n", move{X: 1}},
		{"escaped_key", `{"\u0074ype":"move","X":1}`, move{X: 1}},
		{"escaped_name", `{"type":"m\u006fve","X":1}`, move{X: 1}},
		{"key_as_a_value", `{"to":"type","type":"move"}`, move{To: "type"}},
		{"key_below", `{"a":{"type":"say"},"b":[{"type":"say"}],"type":"move"}`, move{}},
		{"braces_in_strings", `{"a":"}{\"","b":"\\","type":"move","X":3}`, move{X: 3}},
		{"other_case_beside_it", `{"TYPE":"say","type":"move"}`, move{}},
		{"deep", deep(4000), move{}},

		{"missing", `{"X":1}`, nil},
		{"empty_object", `{}`, nil},
		{"other_case", `{"Type":"move"}`, nil},
		{"only_below", `{"a":{"type":"move"}}`, nil},
		{"unknown", `{"type":"kick"}`, nil},
		{"name_in_another_case", `{"type":"Move"}`, nil},
		{"name_empty", `{"type":""}`, nil},
		{"name_null", `{"type":null}`, nil},
		{"name_number", `{"type":1}`, nil},
		{"name_object", `{"type":{"type":"move"}}`, nil},
		{"twice", `{"type":"move","type":"say"}`, nil},
		{"twice_the_same", `{"type":"move","type":"move"}`, nil},
		{"twice_escaped", `{"type":"move","\u0074ype":"move"}`, nil},
		{"of_the_other_direction", `{"type":"moved","Who":"a"}`, nil},
		{"wrong_field", `{"type":"move","X":"1"}`, nil},
		{"too_deep", deep(6000), nil},
		{"empty", ``, nil},
		{"null", `null`, nil},
		{"array", `["type","move"]`, nil},
		{"array_around", `[{"type":"move"}]`, nil},
		{"string", `"type"`, nil},
		{"two_objects", `{"type":"move"}{}`, nil},
		{"tag_outside", `{}"type":"move"`, nil},
		{"unbalanced", `}{{"type":"move"}`, nil},
		{"cut_off", `{"type":"move"`, nil},
		{"cut_off_key", `{"type`, nil},
		{"cut_off_escape", `{"type\`, nil},
		{"cut_off_colon", `{"type":`, nil},
		{"cut_off_name", `{"type":"move`, nil},
		{"bad_escape", `{"\x":1,"type":"move"}`, nil},
	} {
		t.Run("D4_"+tt.name, func(t *testing.T) {
			var got command
			err := codec.Decode(ws.Text(tt.in), &got)
			if tt.want == nil {
				if err == nil || !strings.HasPrefix(err.Error(), "ws: ") || got != nil || len(err.Error()) > 200 {
					t.Errorf("got %v, %v", got, err)
				}
			} else if err != nil || got != tt.want {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
	t.Run("D4_long_name", func(t *testing.T) {
		var got command
		if err := codec.Decode(ws.Text(`{"type":"`+strings.Repeat("a", 1<<20)+`"}`), &got); err == nil || len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

// FuzzTagged compares with what encoding/json's tokens say of the same bytes.
func FuzzTagged(f *testing.F) {
	for _, s := range []string{`{"type":"move","X":1}`, `{"a":[{"type":1}],"\u0074ype":"say","b":"\\\""}`, `{"type":"move","type":"say"}`, `["type"]`, `{"":{}}`} {
		f.Add([]byte(s))
	}
	codec := ws.Tagged("type", move{}, &say{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var want command
		if name, n := tags(data); n == 1 && name == "move" {
			var v move
			if json.Unmarshal(data, &v) == nil {
				want = v
			}
		} else if v := (say{}); n == 1 && name == "say" && json.Unmarshal(data, &v) == nil {
			want = &v
		}
		var got command
		if err := codec.Decode(ws.Binary(data), &got); (err == nil) != (want != nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("D4: %q: got %#v, %v; want %#v", data, got, err, want)
		}
	})
}

// tags returns the value of the member "type", and how many there are.
func tags(data []byte) (name any, n int) {
	if !json.Valid(data) {
		return nil, 0
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if first, _ := dec.Token(); first != json.Delim('{') {
		return nil, 0
	}
	for dec.More() {
		key, _ := dec.Token()
		var v any
		dec.Decode(&v)
		if key == "type" {
			name = v
			n++
		}
	}
	return name, n
}

func TestTaggedEncode(t *testing.T) {
	t.Parallel()
	codec := ws.Tagged("type", move{}, &say{}, ownJSON{}, stopped{})
	for name, v := range map[string]any{
		"not_given":       stop{},
		"nil":             nil,
		"nil_pointer":     (*move)(nil),
		"pointer_pointer": new(*move),
		"no_object":       ownJSON{`"s"`},
		"null":            ownJSON{`null`},
		"array":           ownJSON{`[]`},
		"tag_of_its_own":  ownJSON{`{"a":1,"type":"b"}`},
		"no_JSON":         ownJSON{`{`},
		"no_name":         struct{ X int }{},
		"no_struct":       7,
	} {
		t.Run("D4_"+name, func(t *testing.T) {
			if m, err := codec.Encode(v); err == nil || !strings.HasPrefix(err.Error(), "ws: ") || m.Data != nil {
				t.Errorf("got %q, %v", m, err)
			}
		})
	}
	if m, err := codec.Encode(ownJSON{`{"Type":1}`}); err != nil || m.String() != `{"type":"ownJSON","Type":1}` {
		t.Errorf("D4: another member is none of the tag: %q, %v", m, err)
	}
}

type (
	plainTag  struct{ Type string }
	taggedTag struct {
		Kind int `json:"type"`
	}
	optional struct {
		Kind func() `json:"tYPE,omitempty"`
	}
	embedded  struct{ plainTag }
	embedded2 struct{ *embedded }
	strictTag struct{ Type ownStrict }
	ownStrict struct{}
	hidden    struct {
		Type string `json:"-"`
	}
	//lint:ignore U1000 it is there for Tagged not to see it
	private struct{ type_, Typ string }
	renamed struct {
		Type string `json:"kind"`
	}
	nested    struct{ Inner plainTag }
	list      []int
	dict      map[string]int
	textual   struct{ X int }
	alsoMoved = moved
)

func (*ownStrict) UnmarshalJSON([]byte) error { return errors.New("never") }
func (*textual) MarshalText() ([]byte, error) { return nil, nil }

func TestTaggedTypes(t *testing.T) {
	t.Parallel()
	type move2 struct{ X int }
	other := func() any { type move struct{}; return move{} }()
	for _, tt := range []struct {
		name  string
		key   string
		types []any
		says  string // "": fine
	}{
		{"none", "type", nil, ""},
		{"hidden", "type", []any{hidden{}, private{}, renamed{}, nested{}, move2{}, ownJSON{}}, ""},
		{"no_key", "", []any{move{}}, "key"},
		{"field", "Type", []any{plainTag{}}, `"Type"`},
		{"field_by_case", "type", []any{&plainTag{}}, `"type"`},
		{"field_by_tag", "type", []any{move{}, taggedTag{}}, "ws_test.taggedTag"},
		{"field_func", "type", []any{optional{}}, "ws_test.optional"},
		{"field_embedded", "type", []any{embedded{}}, "ws_test.embedded"},
		{"field_embedded_by_pointer", "type", []any{embedded2{}}, "ws_test.embedded2"},
		{"field_that_takes_no_null", "type", []any{strictTag{}}, "ws_test.strictTag"},
		{"twice", "type", []any{move{}, move{}}, "same name"},
		{"twice_pointer", "type", []any{move{}, &move{}}, "same name"},
		{"twice_alias", "type", []any{moved{}, alsoMoved{}}, "same name"},
		{"name_twice", "type", []any{move{}, other}, "same name"},
		{"nil", "type", []any{nil}, "<nil>"},
		{"pointer_pointer", "type", []any{new(*move)}, "no name"},
		{"no_name", "type", []any{struct{ X int }{}}, "no name"},
		{"slice", "type", []any{list{}}, "ws_test.list"},
		{"map", "type", []any{dict{}}, "ws_test.dict"},
		{"basic", "type", []any{time.Second}, "time.Duration"},
		{"text", "type", []any{textual{}}, "ws_test.textual"},
		{"time", "type", []any{time.Time{}}, ""}, // found out by Send
		{"generic", "type", []any{box[int]{}}, "generic"},
	} {
		t.Run("D4_"+tt.name, func(t *testing.T) {
			defer func() {
				v := recover()
				if s := fmt.Sprint(v); tt.says == "" && v != nil || tt.says != "" && (!strings.HasPrefix(s, "ws: ") || !strings.Contains(s, tt.says)) {
					t.Errorf("it panicked with %v", v)
				}
			}()
			ws.Tagged(tt.key, tt.types...)
		})
	}
}

// A Route of interfaces: both directions in one Codec.
func TestTaggedRoute(t *testing.T) {
	t.Parallel()
	bubble := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	rt := ws.Route[command, event]{Path: "/", Codec: ws.Tagged("type", move{}, &say{}, moved{})}
	bubble("D4_both_directions", func(t *testing.T) {
		server, client := newRouteSide[command, event](), newRouteSide[event, command]()
		c := routePair(t, rt, server.events(), client.events())
		sc := <-server.opened
		if err := errors.Join(c.Send(move{X: 1}), c.Send(&say{"hi"}), sc.Send(moved{"ada"})); err != nil {
			t.Error(err)
		}
		if a, b := <-server.got, <-server.got; a != (move{X: 1}) || b.(*say).Text != "hi" {
			t.Errorf("the server got %v, %v", a, b)
		}
		if v := <-client.got; v != (moved{"ada"}) {
			t.Errorf("the client got %v", v)
		}
		if err := c.Send(stop{}); err == nil || !strings.Contains(err.Error(), "ws_test.stop") {
			t.Errorf("of a type that was not given: %v", err)
		}
		if err := c.Send(nil); err == nil {
			t.Error("nil was sent")
		}
		c.Close(1000, "")
		<-client.closed
	})
	for name, text := range map[string]string{"unknown": `{"type":"kick"}`, "missing": `{"X":1}`, "other_direction": `{"type":"moved"}`} {
		bubble("D4_invalid_"+name, func(t *testing.T) {
			server, client := newRouteSide[command, event](), newRouteSide[event, command]()
			ev := server.events()
			invalid := make(chan error, 1)
			ev.OnInvalid = func(_ *ws.RouteConn[event], m ws.Message, err error) error { invalid <- err; return nil }
			c := routePair(t, rt, ev, client.events())
			c.Conn().SendText(text)
			if err := <-invalid; !strings.Contains(err.Error(), `"type"`) {
				t.Errorf("OnInvalid got %v", err)
			}
			c.Conn().SendText("") // D2: a heartbeat is not decoded
			c.Close(1000, "")
			if e := <-client.closed; e.Code != 1000 || len(invalid) > 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A message is encoded into memory of its size, once.
func TestTaggedAllocations(t *testing.T) {
	codec := ws.Tagged("type", move{})
	v := move{To: strings.Repeat("x", 1<<20)}
	least := ^uint64(0)
	for range 10 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		codec.Encode(v)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 3<<19 {
		t.Errorf("D4: a message of 1 MiB costs %d bytes", least)
	}
}

package typescript

import (
	"encoding/json"
	"errors"
	"math/big"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"time"

	"github.com/seed412db446/ws/wsts/testdata/hard"
	"github.com/seed412db446/ws/wsts/testdata/hard/other"
)

// makers make values of types that reflect does not know enough about. Those of constants make no zero:
// that is for fields and arrays alone.
var makers = map[reflect.Type]func(r *rand.Rand) any{
	reflect.TypeFor[hard.Mood]():      func(r *rand.Rand) any { return pick(r, hard.Happy, hard.Sad) },
	reflect.TypeFor[hard.Level]():     func(r *rand.Rand) any { return pick(r, hard.Low, hard.Mid, hard.High, -1) },
	reflect.TypeFor[other.Kind]():     func(r *rand.Rand) any { return pick(r, other.One, other.Two, other.Three) },
	reflect.TypeFor[other.Level]():    func(r *rand.Rand) any { return pick(r, other.High, other.Low()) },
	reflect.TypeFor[time.Month]():     func(r *rand.Rand) any { return 1 + time.Month(r.IntN(12)) },
	reflect.TypeFor[time.Weekday]():   func(r *rand.Rand) any { return time.Weekday(r.IntN(7)) },
	reflect.TypeFor[json.Number]():    func(r *rand.Rand) any { return pick[json.Number](r, "-0", "12", "1.5e-7", "123456789012345678901") },
	reflect.TypeFor[time.Time]():      func(r *rand.Rand) any { return time.Unix(r.Int64N(1<<35), r.Int64N(1e9)).UTC() },
	reflect.TypeFor[net.IP]():         func(r *rand.Rand) any { return net.IPv4(byte(r.Uint32()), 2, 3, 4) },
	reflect.TypeFor[netip.Addr]():     func(r *rand.Rand) any { return netip.AddrFrom4([4]byte{byte(r.Uint32()), 2, 3, 4}) },
	reflect.TypeFor[netip.Prefix]():   func(r *rand.Rand) any { return netip.MustParsePrefix("10.0.0.0/8") },
	reflect.TypeFor[big.Int]():        func(r *rand.Rand) any { return *new(big.Int).Lsh(big.NewInt(r.Int64()-1<<62), 40) },
	reflect.TypeFor[big.Float]():      func(r *rand.Rand) any { return *big.NewFloat(r.NormFloat64()) },
	reflect.TypeFor[error]():          func(r *rand.Rand) any { return errors.New("broken") },
	reflect.TypeFor[hard.Call]():      func(r *rand.Rand) any { return hard.Call(func() {}) },
	reflect.TypeFor[json.Marshaler](): func(r *rand.Rand) any { return hard.Custom{X: 1} },
	reflect.TypeFor[json.RawMessage](): func(r *rand.Rand) any {
		return pick(r, json.RawMessage(`{"a":[1,null]}`), json.RawMessage(`"x"`), json.RawMessage(`-1.5`))
	},
	reflect.TypeFor[any](): func(r *rand.Rand) any {
		return pick[any](r, true, "text", 1.5, []any{nil}, map[string]any{"a": map[string]any{}}, hard.Happy)
	},
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func text(r *rand.Rand) string {
	return pick(r, "", "a", "null", "12", `"quoted" \`, "*/ //", "</script>", "\u2028\u2029", "größe 🙂", "\x00\x7f", "`${1}`", "\xff")
}

// fill sets v to a random value.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	t := v.Type()
	if f := makers[t]; f != nil {
		v.Set(reflect.ValueOf(f(r)))
		return
	}
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(r.Int64N(1<<54) - 1<<53)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(r.Int64() - 1<<62)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(r.Uint64())
	case reflect.Float32, reflect.Float64:
		v.SetFloat(pick(r, 0, -1.5, 1e30, 1e-30))
	case reflect.String:
		v.SetString(text(r))
	case reflect.Interface:
		// fmt.Stringer and encoding.TextMarshaler
		v.Set(reflect.ValueOf(netip.MustParseAddr("::1")))
	default:
		fillComposite(r, v, depth)
	}
}

func fillComposite(r *rand.Rand, v reflect.Value, depth int) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Array:
		for i := range v.Len() {
			fillOrNot(r, v.Index(i), depth)
		}
	case t.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if t.Field(i).IsExported() || t.Field(i).Anonymous && t.Field(i).Type.Kind() == reflect.Struct {
				fillOrNot(r, v.Field(i), depth)
			}
		}
	case depth > 5 || t == reflect.TypeFor[hard.Nothing]():
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		fill(r, v.Elem(), depth+1)
	case t.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(t, r.IntN(3), 3))
		for i := range v.Len() {
			fill(r, v.Index(i), depth+1)
		}
	case t.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(t))
		for range r.IntN(3) {
			k, e := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
			fill(r, k, depth+1)
			fill(r, e, depth+1)
			v.SetMapIndex(k, e)
		}
	case t.Kind() != reflect.Func:
		panic(t.String())
	}
}

// fillOrNot leaves v as it is now and then: a field or an element of an array may be zero.
func fillOrNot(r *rand.Rand, v reflect.Value, depth int) {
	if r.IntN(4) > 0 && v.CanSet() || v.Kind() == reflect.Struct && !v.CanSet() {
		fill(r, v, depth)
	}
}

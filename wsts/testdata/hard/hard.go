// Package hard has types for the rules of encoding/json, one by one.
package hard

import (
	"database/sql"
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"

	"github.com/coder/websocket"

	"github.com/seed412db446/ws"
	"github.com/seed412db446/ws/wsts/testdata/hard/other"
)

// All is everything.
type All struct {
	Basics     Basics
	Tags       Tags
	Omitted    Omitted
	Embedding  Embedding
	Conflicts  Conflicts
	Composites Composites
	Marshalers Marshalers
	Writers    Writers
	Values     Values `json:"values"`
	Enums      Enums
	Generics   Generics
	Recursive  Recursive
	Names      Names
	Comments   Comments
}

// ID is a string with a name.
type ID string

// Basics are types without a structure.
type Basics struct {
	Bool    bool
	Int     int
	Int8    int8
	Int16   int16
	Int32   int32
	Int64   int64
	Uint    uint
	Uint8   uint8
	Uint16  uint16
	Uint32  uint32
	Uint64  *uint64
	Uintptr uintptr
	Float32 float32
	Float64 float64
	String  string
	Rune    rune
	ID      ID
	Number  json.Number
	Any     any
	Error   error
	A, B    bool
}

// Tags are struct tags.
type Tags struct {
	Renamed    int `json:"re-named"`
	Ignored    int `json:"-"`
	Dash       int `json:"-,"`
	Invalid    int `json:"a\"b"`
	Chars      int `json:"a*/b {c}"`
	Umlaut     int `json:"größe"`
	OnlyOption int `json:",omitempty"`
	unexported int
	Func       func()     `json:"-"`
	QuotedInt  int64      `json:",string"`
	QuotedBool *bool      `json:"quotedBool,string"`
	QuotedText string     `json:"quotedText,string,omitempty"`
	QuotedList []int      `json:",string"`
	QuotedKind other.Kind `json:",string"`
	QuotedNull *int       `json:",string,omitempty"`
}

// Omitted fields.
type Omitted struct {
	Bool       bool              `json:"bool,omitempty"`
	Pointer    *int              `json:"pointer,omitempty"`
	Slice      []int             `json:"slice,omitempty"`
	Map        map[string]int    `json:"map,omitempty"`
	Struct     Point             `json:"struct,omitempty"`
	Array      [2]int            `json:"array,omitempty"`
	Empty      [0]int            `json:"empty,omitempty"`
	Interface  any               `json:"interface,omitempty"`
	SlicePtr   *[]string         `json:"slicePtr,omitempty"`
	PtrPtr     **int             `json:"ptrPtr,omitempty"`
	Zero       Point             `json:"zero,omitzero"`
	ZeroTime   time.Time         `json:"zeroTime,omitzero"`
	ZeroSlice  []int             `json:"zeroSlice,omitzero"`
	ZeroMap    map[string]*Point `json:"zeroMap,omitzero"`
	ZeroOwn    Own               `json:"zeroOwn,omitzero"`
	ZeroOwnPtr *Own              `json:"zeroOwnPtr,omitzero"`
	ZeroArray  [2]int            `json:"zeroArray,omitzero"`
	Bytes      []byte            `json:"bytes,omitempty"`
	IP         net.IP            `json:"ip,omitempty"`
}

// Own is never zero, says IsZero.
type Own []int

// IsZero is asked by encoding/json.
func (Own) IsZero() bool { return false }

// Point is embedded.
type Point struct {
	X int `json:"x"`
	Y int `json:"y,omitempty"`
}

type inner struct {
	FromInner string
	hidden    int
}

// Deep is embedded by a pointer.
type Deep struct {
	*Deeper
	Depth int
}

// Deeper embeds what embeds it.
type Deeper struct {
	*Deep
	Deepest string
}

// Text is embedded and no struct.
type Text string

type hiddenText string

// Embedding has the fields of others.
type Embedding struct {
	Point
	inner
	*Deep
	hiddenText
	// Text has a comment.
	Text
	fmt.Stringer
	Named      Box[int] `json:"named"`
	other.Note `json:"note"`
	Alias
}

// Alias is another name of Aliased.
type Alias = Aliased

// Aliased is embedded by its alias.
type Aliased struct{ Aliases map[Alias2]Alias2 }

// Alias2 is another name of string.
type Alias2 = string

// Conflicts are names that more than one field has.
type Conflicts struct {
	Left
	Right
	Own int
}

// Left has names that Right has too.
type Left struct {
	Own    string
	Both   string
	Tagged string `json:"Tagged"`
	Custom
}

// Right has names that Left has too.
type Right struct {
	Both   string
	Tagged string
	Only   int `json:"only"`
	Odd
}

// Composites are slices, maps and arrays.
type Composites struct {
	Slice     []string
	Pointers  []*Point
	Nested    [][]*int
	Bytes     []byte
	Named     Blob
	ByteKinds []other.Kind
	Pair      [2]string
	Bytes4    [4]byte
	Empty     [0]string
	Many      [9]*int
	Map       map[string]Point
	Ints      map[int][]string
	IDs       map[ID]int
	Moods     map[Mood]int
	Times     map[time.Time]bool
	Addrs     map[netip.Addr]*bool
	Texts     map[Shout]int
	Longs     map[int64]bool
	Letters   []Letter
	Anonymous struct {
		// A has a comment.
		A int
		B *struct{ C []bool } `json:"b,omitempty"`
	}
	List []struct{ X, Y int }
}

// Letter is a byte with its own JSON.
type Letter uint8

// MarshalText makes a letter.
func (l Letter) MarshalText() ([]byte, error) { return []byte{'a' + byte(l)%26}, nil }

// UnmarshalText is its opposite.
func (l *Letter) UnmarshalText(b []byte) error {
	if len(b) > 0 {
		*l = Letter(b[0] - 'a')
	}
	return nil
}

// Blob is bytes with a name.
type Blob []byte

// Shout is a TextMarshaler, but as a map's key a string.
type Shout string

// MarshalText shouts.
func (s Shout) MarshalText() ([]byte, error) { return []byte(s + "!"), nil }

// Marshalers have their own JSON.
type Marshalers struct {
	Time     time.Time
	Duration time.Duration
	IP       net.IP
	Addr     *netip.Addr
	Prefix   []netip.Prefix
	Raw      json.RawMessage
	Custom   Custom
	Pair     Custom            `json:"pair" tstype:"[number, number]"`
	PairPtr  *Custom           `json:"pairPtr,omitempty" tstype:"[number, number]"`
	Pairs    map[string]Custom `tstype:"{ [name: string]: [number, number] } | null"`
	Big      *big.Int
	BigFloat *big.Float
	Stamp    Stamp
	StampPtr *Stamp
	Null     sql.NullString
}

// Writers can be written, but not read.
type Writers struct {
	Text encoding.TextMarshaler
	JSON json.Marshaler
	Func Call `tstype:"string"`
	Call *Call
}

// Custom is an array.
type Custom struct{ X, Y int }

// MarshalJSON makes an array.
func (c Custom) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "[%d,%d]", c.X, c.Y), nil }

// UnmarshalJSON takes an array.
func (c *Custom) UnmarshalJSON(b []byte) error {
	var a [2]int
	err := json.Unmarshal(b, &a)
	c.X, c.Y = a[0], a[1]
	return err
}

// Stamp is a time, for it embeds one.
type Stamp struct {
	time.Time
	Zone string
}

// Call is a func with its own JSON.
type Call func()

// MarshalJSON makes a string.
func (Call) MarshalJSON() ([]byte, error) { return []byte(`"call"`), nil }

// Values have methods of pointers, which are called only where there is a pointer to be had.
type Values struct {
	Big      big.Int
	Bigs     []big.Int
	Pointed  Pointed
	Map      map[string]Pointed
	Slice    []Pointed
	Array    [1]Pointed
	Pointer  *Pointed
	Lazy     Lazy
	Mostly   Box[Pointed]
	Embedded struct{ Pointed Pointed }
}

// Pointed is a string by its pointer.
type Pointed struct{ N int }

// MarshalText needs a pointer.
func (p *Pointed) MarshalText() ([]byte, error) { return fmt.Append(nil, p.N), nil }

// UnmarshalText is its opposite.
func (p *Pointed) UnmarshalText(b []byte) error {
	_, err := fmt.Sscan(string(b), &p.N)
	return err
}

// Lazy makes its own JSON by its pointer.
type Lazy struct{ N int }

// MarshalJSON needs a pointer.
func (l *Lazy) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"n":%d}`, l.N), nil }

// Mood is one of a few.
type Mood string

// The moods.
const (
	Happy Mood = "happy"
	Sad   Mood = "sad \"so\" \u2028 sad"
	Glad       = Happy
)

// Level is a number with a name for zero.
type Level int64

// The levels.
const (
	Low Level = iota // is the lowest
	Mid
	High
	none Level = -1
)

// Bits can be combined.
type Bits uint

// The bits.
const (
	Read Bits = 1 << iota
	Write
	Exec
)

// Port has only one constant, and so it is a number.
type Port uint16

// HTTP is a port.
const HTTP Port = 80

// User has a constant for its zero alone.
type User string

// Nobody is no user.
const Nobody User = ""

// Enums are types with constants.
type Enums struct {
	Mood      Mood
	MoodOpt   Mood `json:",omitempty"`
	MoodPtr   *Mood
	Moods     []Mood
	MoodArray [2]Mood
	Level     Level
	LevelZero Level `json:",omitzero"`
	Bits      Bits
	Port      Port
	User      User
	Kind      other.Kind
	Other     other.Level
	Month     time.Month
	Weekday   time.Weekday
	Code      websocket.StatusCode
	Span      time.Duration
}

// Box is generic.
type Box[T any] struct {
	Value T            `json:"value"`
	List  []T          `json:"list"`
	Next  *Box[T]      `json:"next,omitempty"`
	Map   map[string]T `json:"map,omitempty"`
}

// Pair has itself, with its arguments exchanged.
type Pair[A, B any] struct {
	A     A                   `json:"a"`
	B     B                   `json:"b"`
	Table Table[int, bool]    `json:"table"`
	Rest  *Pair[B, A]         `json:"rest"`
	Bools map[string]struct{} `json:"bools"`
}

// Group has a key that its argument decides, in a type of its own.
type Group[K comparable] struct {
	Table  Table[K, bool] `json:"table"`
	Nested []*Group[K]    `json:"nested"`
	A      A              `json:"a"`
}

// A is the name of a type parameter, too.
type A struct{ A bool }

// Phantom does not use its parameter.
type Phantom[T any] struct{ N int }

// Quoted is a string, or not.
type Quoted[T any] struct {
	Value T `json:",string"`
}

// Table has a generic key.
type Table[K comparable, V any] map[K]V

// Sequence is a generic slice.
type Sequence[T any] []T

// Generics are instances.
type Generics struct {
	Ints    Box[int]
	Points  Box[*Point]
	Bytes   Box[byte]
	Moods   Box[Mood]
	Boxes   *Box[Box[string]]
	Times   Table[time.Time, []int]
	Levels  Table[Level, Sequence[Mood]]
	Seq     Sequence[Sequence[float64]]
	ByteSeq Sequence[byte]
	Quoted  Quoted[int]
	Bare    Quoted[Point]
	Phantom Phantom[bool]
	Pair    Pair[string, ID]
	Group   *Group[Level]
}

// Tree is a slice of itself.
type Tree []Tree

// Forest is a map of itself.
type Forest map[string]Forest

// Ring is an array that holds itself.
type Ring [2]*Ring

// Node is a struct that holds itself.
type Node struct {
	Kids   []*Node `json:"kids"`
	Parent *Node   `json:"parent,omitempty"`
}

// Nothing can only be nil.
type Nothing *Nothing

// Recursive types.
type Recursive struct {
	Tree    Tree
	Forest  Forest
	Ring    Ring
	Node    *Node
	Nothing Nothing
	Omitted Tree `json:",omitempty"`
}

// Names clash.
type Names struct {
	Note      Note
	Other     other.Note
	Record    Record
	URL       URL
	Promise   Promise
	Array     Array
	Never     never
	Class     class
	T         T
	HardNote  HardNote
	Options   Options
	Route     Route
	Value     generic[int]
	Connected connect
}

type (
	// Note is in other, too.
	Note struct{ Hard bool }
	// HardNote is what Note would be called in a clash.
	HardNote struct{ N []Note }
	// Record is TypeScript's.
	Record struct{ R int }
	// URL is the browser's.
	URL struct{ U string }
	// Promise is JavaScript's.
	Promise struct{ P Mood }
	// Array is JavaScript's, and a keyword in its comments.
	Array struct{ A []Array }
	// Options are the runtime's.
	Options struct{ O int }
	// Route is the runtime's.
	Route   struct{ R Options }
	never   struct{ N bool }
	class   struct{ C bool }
	connect struct{ C bool }
	// T is the name of a type parameter, too.
	T                   struct{ T int }
	generic[string any] struct{ V string }
)

// Comments travel.
//
// With paragraphs, */ and
// @deprecated at the beginning of a line.
//
//   - and
//   - lists
type Comments struct {
	A int // at the end of a line
	// Above it.
	B int // not this
	/* C */
	C int
	// D says @param {x} and */.
	D string
	// Wide has a comment.
	Wide  []uint64
	Wider map[string]int64
}

// Codes with which the server closes.
const (
	// StatusKicked says who did it.
	StatusKicked websocket.StatusCode = 4001
	StatusFull   websocket.StatusCode = 4000 + iota
)

const prefix = "/all/"

// Everything has it all.
var Everything = ws.Route[All, All]{Path: prefix + "{name}/{rest...}"}

var (
	// lower is not exported.
	lower = &ws.Route[Mood, *[]Level]{Path: "/n/{id:[0-9]{1,3}}/{a-b}/{$}", Codec: nil}
	Raw   = ws.Route[[]byte, string]{Path: "/raw", Codec: raw{}}
)

type raw struct{ ws.Codec }

// Command is what a player does.
type Command interface{ command() }

// Event is what happens.
type Event interface{ event() }

type (
	// Move is a command.
	Move struct{ X, Y int }
	// Wait is a command by its pointer.
	Wait struct{}
	// Say is a command and an event.
	Say struct {
		Text Mood `json:"text"`
	}
	// Gone is an event.
	Gone struct{}
	// Odd is an event with its own JSON.
	Odd struct{ N int }
)

func (Move) command()  {}
func (*Wait) command() {}
func (*Lazy) event()   {}
func (*Say) command()  {}
func (Say) event()     {}
func (*Gone) event()   {}
func (Odd) event()     {}

// MarshalJSON makes an object.
func (o Odd) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"n":%d}`, o.N), nil }

// UnmarshalJSON takes an object.
func (o *Odd) UnmarshalJSON(b []byte) error {
	var m map[string]int
	err := json.Unmarshal(b, &m)
	o.N = m["n"]
	return err
}

var messages = ws.Tagged("the type", Move{}, &Say{}, Gone{}, Odd{}, &Lazy{})

// Game has messages of many kinds.
var Game = ws.Route[Command, Event]{Path: "/game", Codec: messages}

// Moves has one kind of message, and any kind of answer.
var Moves = ws.Route[Move, any]{Path: "/moves", Codec: (ws.Tagged("t", Move{}, &Say{}))}

// Chess has other commands.
var Chess = ws.Route[Command, Command]{Path: "/chess", Codec: ws.Tagged("t", Move{}, Wait{})}

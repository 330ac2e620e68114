// Package other has names that package hard has too.
package other

// Note is another one.
type Note struct {
	Level Level `json:"level,omitempty"`
	Here  Kind  `json:"here"`
}

// Level has a constant that is not exported.
type Level string

const (
	High Level = "high"
	low  Level = "low"
)

// Low returns the other level.
func Low() Level { return low }

// Kind has no name for zero.
type Kind uint8

// The kinds.
const (
	One Kind = iota + 1
	Two
	Three
)

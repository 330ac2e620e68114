package raw

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Deflate is what was agreed about permessage-deflate, RFC 7692 section 7.
type Deflate struct {
	ServerNoContextTakeover, ClientNoContextTakeover bool
	ServerBits, ClientBits                           int // 15 where nothing was said
}

type extension struct {
	name   string
	params []string
}

func extensions(header string) []extension {
	var out []extension
	for _, s := range strings.Split(header, ",") {
		parts := strings.Split(s, ";")
		e := extension{name: strings.TrimSpace(parts[0])}
		if e.name == "" {
			continue
		}
		for _, p := range parts[1:] {
			name, value, found := strings.Cut(strings.TrimSpace(p), "=")
			if found {
				name = strings.TrimSpace(name) + "=" + strings.Trim(strings.TrimSpace(value), `"`)
			}
			e.params = append(e.params, name)
		}
		out = append(out, e)
	}
	return out
}

// Parse reads the parameters of an offer or of a response (which differ in what may go without a
// value) and returns what is wrong with them. An offer's client_max_window_bits without a value is 15.
func parse(params []string, offer bool) (d Deflate, has map[string]bool, err error) {
	d = Deflate{ServerBits: 15, ClientBits: 15}
	has = map[string]bool{}
	for _, p := range params {
		name, value, valued := strings.Cut(p, "=")
		if has[name] {
			return d, has, fmt.Errorf("parameter %s stands there twice", name)
		}
		has[name] = true
		switch name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if valued {
				return d, has, fmt.Errorf("%s takes no value", name)
			}
			if name[0] == 's' {
				d.ServerNoContextTakeover = true
			} else {
				d.ClientNoContextTakeover = true
			}
		case "server_max_window_bits", "client_max_window_bits":
			if !valued && offer && name[0] == 'c' {
				continue
			}
			n, aerr := strconv.Atoi(value)
			if aerr != nil || n < 8 || n > 15 || value[0] == '0' || value[0] == '+' {
				return d, has, fmt.Errorf("%s has the value %q", name, value)
			}
			if name[0] == 's' {
				d.ServerBits = n
			} else {
				d.ClientBits = n
			}
		default:
			return d, has, fmt.Errorf("parameter %s is unknown", name)
		}
	}
	return d, has, nil
}

// Agreed checks a server's response against a client's offer (RFC 7692 section 7.1) and returns what
// they agreed on, or nil if the response declines. The error names the rule that was broken.
func Agreed(offer, response string) (*Deflate, error) {
	answer := extensions(response)
	if len(answer) == 0 {
		return nil, nil
	}
	if len(answer) > 1 || answer[0].name != "permessage-deflate" {
		return nil, fmt.Errorf("the response %q is not one permessage-deflate", response)
	}
	d, has, err := parse(answer[0].params, false)
	if err != nil {
		return nil, fmt.Errorf("the response %q: %w", response, err)
	}
	why := errors.New("permessage-deflate was not offered")
	for _, e := range extensions(offer) {
		if e.name != "permessage-deflate" {
			continue
		}
		o, offered, err := parse(e.params, true)
		switch {
		case err != nil:
			why = err
		case o.ServerNoContextTakeover && !d.ServerNoContextTakeover:
			why = errors.New("server_no_context_takeover was not confirmed")
		case offered["server_max_window_bits"] && !has["server_max_window_bits"]:
			why = errors.New("server_max_window_bits was not confirmed")
		case d.ServerBits > o.ServerBits:
			why = errors.New("server_max_window_bits is larger than was offered")
		case has["client_max_window_bits"] && !offered["client_max_window_bits"]:
			why = errors.New("client_max_window_bits was not offered")
		case has["client_max_window_bits"] && d.ClientBits > o.ClientBits:
			why = errors.New("client_max_window_bits is larger than was offered")
		default:
			d.ClientBits = min(d.ClientBits, o.ClientBits) // the client keeps to its own offer
			return &d, nil
		}
	}
	return nil, fmt.Errorf("the offer %q must not be answered with %q: %w", offer, response, why)
}

// Deflater compresses the messages of one direction.
type Deflater struct {
	buf   bytes.Buffer
	w     *flate.Writer
	fresh bool
}

// NewDeflater takes no context from one message to the next if fresh. With a window of less than 15
// bits it uses no back references at all.
func NewDeflater(fresh bool, windowBits int) *Deflater {
	d := &Deflater{fresh: fresh}
	level := flate.BestSpeed
	if windowBits < 15 {
		level = flate.HuffmanOnly
	}
	d.w, _ = flate.NewWriter(&d.buf, level)
	return d
}

// Message compresses one message, RFC 7692 section 7.2.1.
func (d *Deflater) Message(p []byte) []byte {
	d.buf.Reset()
	if d.fresh {
		d.w.Reset(&d.buf)
	}
	d.w.Write(p)
	d.w.Flush()
	return bytes.Clone(bytes.TrimSuffix(d.buf.Bytes(), []byte{0, 0, 0xff, 0xff}))
}

// Inflater decompresses the messages of one direction.
type Inflater struct {
	r      io.ReadCloser
	fresh  bool
	window []byte
}

// NewInflater takes no context from one message to the next if fresh.
func NewInflater(fresh bool) *Inflater { return &Inflater{fresh: fresh} }

// Message decompresses one message, RFC 7692 section 7.2.2.
func (f *Inflater) Message(p []byte) ([]byte, error) {
	src := io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))
	if f.r == nil {
		f.r = flate.NewReaderDict(src, f.window)
	} else {
		f.r.(flate.Resetter).Reset(src, f.window)
	}
	out, err := io.ReadAll(f.r)
	if err != nil || f.fresh {
		return out, err
	}
	f.window = append(f.window, out...)
	if n := len(f.window); n > 32768 {
		f.window = bytes.Clone(f.window[n-32768:])
	}
	return out, nil
}

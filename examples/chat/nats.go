package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsWait bounds one request to NATS. It is short, because callbacks wait for the answer.
const natsWait = 3 * time.Second

// Names are claimed for nameTTL and claimed again every nameRefresh,
// so that the names of a node that died become free.
const (
	nameTTL     = 30 * time.Second
	nameRefresh = 10 * time.Second
)

// connect joins the NATS server at url or, when url is empty, starts one inside this process.
// That one accepts other nodes at listen; with an empty listen it has no port at all.
// The returned function ends what connect began.
func connect(url, listen string) (*nats.Conn, func(), error) {
	options := []nats.Option{nats.Name("chat"), nats.MaxReconnects(-1)}
	if url != "" {
		nc, err := nats.Connect(url, options...)
		if err != nil {
			return nil, nil, fmt.Errorf("NATS at %s: %w", url, err)
		}
		return nc, nc.Close, nil
	}
	ns, stop, err := embed(listen)
	if err != nil {
		return nil, nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	nc, err := nats.Connect("", append(options, nats.InProcessServer(ns))...)
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	if listen != "" {
		fmt.Printf("chat: other nodes join with -nats %s\n", ns.ClientURL())
	}
	return nc, func() { nc.Close(); stop() }, nil
}

// embed starts a NATS server with a store in a temporary directory, which stop removes.
func embed(listen string) (ns *server.Server, stop func(), err error) {
	options := &server.Options{ServerName: "chat", JetStream: true, NoSigs: true, DontListen: listen == ""}
	if listen != "" {
		// The server retries a port that is in use for a long time, and logs nothing.
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return nil, nil, err
		}
		addr := ln.Addr().(*net.TCPAddr)
		options.Host, options.Port = addr.IP.String(), addr.Port
		ln.Close()
	}
	if options.StoreDir, err = os.MkdirTemp("", "chat-"); err != nil {
		return nil, nil, err
	}
	if ns, err = server.NewServer(options); err != nil {
		os.RemoveAll(options.StoreDir)
		return nil, nil, err
	}
	fatal := make(fatalLog, 1)
	ns.SetLoggerV2(fatal, false, false, false)
	stop = func() {
		ns.Shutdown()
		ns.WaitForShutdown()
		os.RemoveAll(options.StoreDir)
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		stop()
		select {
		case err = <-fatal:
		default:
			err = errors.New("not ready after 10 s")
		}
		return nil, nil, err
	}
	return ns, stop, nil
}

// fatalLog is the embedded server's logger. It holds the reason why the server could not start.
type fatalLog chan error

func (l fatalLog) Fatalf(format string, v ...any) {
	select {
	case l <- fmt.Errorf(format, v...):
	default:
	}
}
func (fatalLog) Errorf(format string, v ...any) { slog.Error("nats: " + fmt.Sprintf(format, v...)) }
func (fatalLog) Warnf(format string, v ...any)  { slog.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (fatalLog) Noticef(string, ...any)         {}
func (fatalLog) Debugf(string, ...any)          {}
func (fatalLog) Tracef(string, ...any)          {}

// store is what all nodes share: the messages of every room, and who holds which name.
type store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	names  jetstream.KeyValue // room.name, both in a form that NATS takes → claim
	id     string             // of the stream: sequence numbers mean something in this one only
}

// openStore opens the stream and the bucket, or creates them. It leaves their settings alone where
// they exist, so that an operator can create them with more replicas.
func openStore(ctx context.Context, nc *nats.Conn) (*store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s := &store{js: js}
	s.stream, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name:              "CHAT",
		Subjects:          []string{"chat.*"},
		MaxMsgsPerSubject: keep,
		MaxAge:            30 * 24 * time.Hour,
		MaxBytes:          1 << 30,
		Discard:           jetstream.DiscardOld,
		Duplicates:        10 * time.Minute, // how late a message that is sent again is still recognized
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		s.stream, err = js.Stream(ctx, "CHAT")
	}
	if err != nil {
		return nil, fmt.Errorf("JetStream stream CHAT: %w", err)
	}
	s.id = streamID(s.stream.CachedInfo())
	s.names, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:         "CHAT-NAMES",
		Storage:        jetstream.MemoryStorage,
		TTL:            nameTTL,
		LimitMarkerTTL: nameTTL, // tells the nodes of names that expired
	})
	if errors.Is(err, jetstream.ErrBucketExists) {
		s.names, err = js.KeyValue(ctx, "CHAT-NAMES")
	}
	if err != nil {
		return nil, fmt.Errorf("JetStream bucket CHAT-NAMES: %w", err)
	}
	return s, nil
}

func streamID(info *jetstream.StreamInfo) string {
	return strconv.FormatInt(info.Created.UnixNano(), 36)
}

// replaced calls f when NATS comes back after an interruption with another stream: the server's
// store is gone, and this node's rooms would wait for numbers that are far away.
func (s *store) replaced(nc *nats.Conn, f func(error)) {
	nc.SetReconnectHandler(func(*nats.Conn) {
		ctx, cancel := context.WithTimeout(context.Background(), natsWait)
		defer cancel()
		stream, err := s.js.Stream(ctx, "CHAT")
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			slog.Warn("chat: NATS is back, but its stream can't be looked at", "err", err)
			return
		case streamID(stream.CachedInfo()) == s.id:
			return
		}
		f(errors.New("NATS came back without the messages it had; start this node again"))
	})
}

package fakeengine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// KeyVariable is the environment variable that holds the engine's bearer key. It
// is never an argument, because arguments can be read by other users.
const KeyVariable = "BERTH_ENGINE_KEY"

// Exit codes of Run besides those of the script.
const (
	exitFailed = 1 // script or address cannot be used
	exitUsage  = 2 // wrong arguments
)

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = time.Second
)

// Run is the command `berth fake-engine`: it serves one engine until ctx ends or
// the engine crashes as its script says, and returns the exit code of the process.
//
// args are the arguments after the command's name: --script FILE (absent: the zero
// Script), --adapter NAME (any number), --host (127.0.0.1), --port (0: any free one). The key is taken from
// KeyVariable; without one the engine asks for none. As soon as the engine listens,
// one line with its URL goes to out; errors go to errOut.
//
// The caller turns SIGTERM into the end of ctx. Open calls are cut then; a script
// with IgnoreSIGTERM ignores the end of ctx altogether.
func Run(ctx context.Context, args []string, out, errOut io.Writer) int {
	script, adapters, address, code, ok := parse(args, errOut)
	if !ok {
		return code
	}
	if refuse := script.RefuseStart; refuse != nil {
		fmt.Fprintln(errOut, refuse.Message)
		return refuse.ExitCode
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(errOut, "fake engine:", err)
		return exitFailed
	}
	if script.IgnoreSIGTERM {
		ctx = context.WithoutCancel(ctx)
	}
	options := Options{Key: os.Getenv(KeyVariable), Adapters: adapters}
	if script.Diary != "" {
		diary, err := openDiary(script.Diary)
		if err != nil {
			fmt.Fprintln(errOut, "fake engine:", err)
			return exitFailed
		}
		defer func() { _ = diary.Close() }() // what was written is there
		options.Diary = diary
	}
	engine := New(script, options)
	fmt.Fprintf(out, "fake engine listening on http://%s\n", listener.Addr())
	if err := serve(ctx, engine, listener, errOut); err != nil {
		fmt.Fprintln(errOut, "fake engine:", err)
		return exitFailed
	}
	return engine.ExitCode()
}

// parse reads the arguments and the script they name. If ok is false the process
// is to end with the code; what is wrong has been written to errOut.
func parse(args []string, errOut io.Writer) (script Script, adapters []string, address string, code int, ok bool) {
	flags := flag.NewFlagSet("fake-engine", flag.ContinueOnError)
	flags.SetOutput(errOut)
	path := flags.String("script", "", "JSON `file` that says how the engine behaves")
	flags.Func("adapter", "`name` of an adapter that it has from the start; may be repeated", func(name string) error {
		adapters = append(adapters, name)
		return nil
	})
	host := flags.String("host", "127.0.0.1", "`address` to listen on")
	port := flags.Uint("port", 0, "`port` to listen on, 0 for any free one")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return script, nil, "", 0, false
	case err != nil:
		return script, nil, "", exitUsage, false
	case flags.NArg() > 0:
		fmt.Fprintf(errOut, "fake engine: %q is not understood\n", flags.Arg(0))
		return script, nil, "", exitUsage, false
	}
	if *path != "" {
		var err error
		if script, err = Load(*path); err != nil {
			fmt.Fprintln(errOut, "fake engine:", err)
			return script, nil, "", exitFailed, false
		}
	}
	return script, adapters, net.JoinHostPort(*host, strconv.FormatUint(uint64(*port), 10)), 0, true
}

// serve returns when ctx has ended or the engine has died, with all connections
// closed and the engine dead.
func serve(ctx context.Context, engine *Engine, listener net.Listener, errOut io.Writer) error {
	server := &http.Server{
		Handler:           engine,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          log.New(errOut, "fake engine: ", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
	case <-engine.Died():
	case err = <-failed:
	}
	engine.Kill(0)
	// The dead engine cuts open calls by itself. Shutdown lets the answer of the
	// last call before a scripted crash reach its client whole.
	bounded, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if server.Shutdown(bounded) != nil {
		_ = server.Close()
	}
	return err
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3 // by the server
	exitUnreachable = 4 // no server, or one that is out of order
	exitNotDeployed = 5 // the deployment that was waited for does not serve
	exitInterrupted = 130
)

var errInterrupted = errors.New("interrupted")

// usageError is a command line that makes no sense.
type usageError struct {
	cmd     *cobra.Command
	message string
}

func (e usageError) Error() string {
	return fmt.Sprintf("%s\nSee: %s --help", e.message, e.cmd.CommandPath())
}

// unreachableError is a server that did not answer.
type unreachableError struct {
	url string
	err error
}

func (e unreachableError) Error() string {
	var op *net.OpError
	if errors.As(e.err, &op) && op.Op == "dial" {
		return fmt.Sprintf("nothing answers at %s; start it with: berth serve", e.url)
	}
	return fmt.Sprintf("the connection to %s broke: %v", e.url, e.err)
}

// reached turns an error of the connection into an [unreachableError].
func reached(client *api.Client, err error) error {
	if errors.As(err, new(*url.Error)) {
		return unreachableError{client.BaseURL, err}
	}
	return err
}

func (e unreachableError) Unwrap() error { return e.err }

// notDeployedError is a deployment that does not serve after waiting for it.
type notDeployedError struct {
	deployment api.Deployment
	reason     string
}

func (e notDeployedError) Error() string {
	sentence := fmt.Sprintf("%s is %s", e.deployment.DeployedModel, e.deployment.Status)
	if e.reason != "" {
		sentence += ": " + e.reason
	}
	return sentence
}

// Execute runs the command line, tells what went wrong and returns the exit code. An
// interrupt, or the end of the terminal, cancels the command's context; a second one ends
// the program.
func Execute(ctx context.Context, root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		err = errInterrupted
	}
	err = plainly(cmd, err)
	tell(root.ErrOrStderr(), err)
	return exitCode(err)
}

var (
	missingFlags  = regexp.MustCompile(`^required flag\(s\) "(.+)" not set$`)
	opposingFlags = regexp.MustCompile(`^if any flags in the group \[(.+)\] are set none of the others can be; \[.+\] were all set$`)
)

// plainly says what the library says of flags as a sentence, as a mistake of the command
// line.
func plainly(cmd *cobra.Command, err error) error {
	flags := func(found []string, split, join string) string {
		return "--" + strings.Join(strings.Split(found[1], split), join)
	}
	says := ""
	if found := missingFlags.FindStringSubmatch(err.Error()); found != nil {
		says = flags(found, `", "`, " and --") + " must be given"
	} else if found := opposingFlags.FindStringSubmatch(err.Error()); found != nil {
		says = flags(found, " ", " and --") + " do not go together"
	}
	if says == "" {
		return err
	}
	return usageError{cmd, says}
}

// tell writes an error for people.
func tell(out io.Writer, err error) {
	fmt.Fprintln(out, "berth: "+printable(err.Error())+advice(err))
}

func exitCode(err error) int {
	var refused *api.Error
	switch {
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.As(err, new(notDeployedError)):
		return exitNotDeployed
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &refused) && refused.Status/100 == 4:
		return exitRefused
	case refused != nil, errors.As(err, new(unreachableError)):
		return exitUnreachable
	}
	return exitFailed
}

// flagOf says which flag gives a field that the server asks for by its name on the wire.
var flagOf = map[string]string{
	"deploy_spec": "Choose hardware with --spec; berth model list shows the specs of each model.",
	"capacity":    "Say how many units with --capacity.",
}

// advice says what to do: which flag is missing, or when to try again, if the server said so.
func advice(err error) string {
	var refused *api.Error
	if !errors.As(err, &refused) {
		return ""
	}
	if field, missing := strings.CutPrefix(refused.Message, "Field required: "); missing && flagOf[field] != "" {
		return " " + flagOf[field]
	}
	if refused.Code == "PREPAID_UNSUBSCRIBE_REQUIRED" {
		return " End it now with --unsubscribe."
	}
	if refused.RetryAfter == 0 {
		return ""
	}
	return fmt.Sprintf(" Try again in %d s.", refused.RetryAfter/time.Second)
}

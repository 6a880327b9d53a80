package cli

import (
	"cmp"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Options are what the command line is made of.
type Options struct {
	Version string
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Env     func(string) string // such as [os.Getenv]
	// Now is the clock; its zone is the one that times are read and shown in.
	Now func() time.Time
	// Local are commands that do their work themselves; help lists them under Server.
	Local []*cobra.Command
}

// program is the state that all commands share: the options and the global flags.
type program struct {
	Options
	output format
	url    string
	key    string
	data   string
}

// The groups of commands in help.
const (
	groupDeployments = "deployments"
	groupModels      = "models"
	groupAccess      = "access"
	groupUsage       = "usage"
	groupServer      = "server"
)

const about = `Berth sells models out of the machines you have: deploy one, call it, see who used what.

Commands talk to the server at --url or BERTH_URL, else to the one that runs on the data
directory --data or BERTH_DATA, else to ` + defaultURL + `. The key is --key or
BERTH_API_KEY, else the data directory's owner.key.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the server, 4 server not
reachable or out of order, 5 the deployment does not come up, 130 interrupted.`

// New returns the root command. Run it with [Execute].
func New(o Options) *cobra.Command {
	p := &program{Options: o, output: formatTable}
	root := parent("berth", "Sell models out of the machines you have")
	root.Long = about
	root.Version = o.Version
	root.SilenceErrors, root.SilenceUsage = true, true
	root.PersistentPreRunE = p.checkOutput
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.Err)
	root.SetUsageTemplate(usageTemplate(root))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{cmd, err.Error()} })

	flags := root.PersistentFlags()
	flags.VarP(&p.output, "output", "o", "output `format`: table, json or yaml")
	flags.StringVar(&p.url, "url", "", "`address` of the server (BERTH_URL)")
	flags.StringVar(&p.key, "key", "", "API `key`; the environment hides it better from other users (BERTH_API_KEY)")
	flags.StringVar(&p.data, "data", cmp.Or(o.Env("BERTH_DATA"), "./berth-data"), "data `directory` of the server (BERTH_DATA)")
	complete(root, "output", string(formatTable), string(formatJSON), string(formatYAML), string(formatCSV), string(formatNDJSON))

	addGroup(root, groupDeployments, "Deployments:", p.deploy(), p.list(), p.get(), p.scale(), p.update(), p.stop(), p.start(), p.delete(), p.events(), p.explain(), p.logs(), p.chat(), p.capacity(), p.overflow())
	addGroup(root, groupModels, "Models:", p.model(), p.calibrate(), p.upload(), p.imports(), p.tunes())
	addGroup(root, groupAccess, "Access:", p.keys(), p.workspaces(), p.accounts(), p.audit())
	addGroup(root, groupUsage, "Usage and money:", p.usage(), p.reconciliation(), p.statement(), p.prices(), p.payments(), p.ledger())
	for _, c := range o.Local {
		checkUsage(c)
	}
	addGroup(root, groupServer, "Server:", append([]*cobra.Command{p.node(), p.push()}, o.Local...)...)
	return root
}

// usageTemplate is cobra's without the line that says that a command which only holds
// others can be run.
func usageTemplate(root *cobra.Command) string {
	return strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1)
}

func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// parent returns a command that only holds others.
func parent(name, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.ArbitraryArgs, // so that a misspelt child arrives in RunE
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			message := "there is no command " + cmd.CommandPath() + " " + args[0]
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				message += "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return usageError{cmd, message}
		},
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(children...)
	return cmd
}

// arguments makes a mistake in the number of arguments a [usageError].
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{cmd, "wrong arguments; write: " + cmd.UseLine()}
		}
		return nil
	}
}

// checkUsage makes wrong arguments of a command from elsewhere, and of those below it, a
// [usageError] too.
func checkUsage(cmd *cobra.Command) {
	if cmd.Args != nil {
		cmd.Args = arguments(cmd.Args)
	}
	for _, child := range cmd.Commands() {
		checkUsage(child)
	}
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// It fails only for a flag that does not exist.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// given returns a pointer to a flag's value, or nil when the flag was not given.
func given[T any](cmd *cobra.Command, flag string, value T) *T {
	if !cmd.Flags().Changed(flag) {
		return nil
	}
	return &value
}

// lines joins the examples of a command.
func lines(examples ...string) string { return "  " + strings.Join(examples, "\n  ") }

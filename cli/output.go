package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/berthhq/berth/api"
)

// format is the value of --output.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
	// Of commands whose lists can be long only (exports): written as they come.
	formatCSV    format = api.FormatCSV
	formatNDJSON format = api.FormatNDJSON
)

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatTable, formatJSON, formatYAML, formatCSV, formatNDJSON:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("it is table, json or yaml")
}

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// exports marks a command that writes csv and ndjson, too.
var exports = map[string]string{"exports": "yes"}

// checkOutput refuses a format that a command does not write, before it does anything.
func (p *program) checkOutput(cmd *cobra.Command, _ []string) error {
	if p.exporting() && cmd.Annotations["exports"] == "" {
		return usageError{cmd, "--output: " + string(p.output) + " is for usage, audit, ledger, statement and price list; this command writes table, json or yaml"}
	}
	return nil
}

// exporting reports whether the output is a file that the server writes.
func (p *program) exporting() bool { return p.output == formatCSV || p.output == formatNDJSON }

// noLimit refuses --limit of a file, which has everything.
func (p *program) noLimit(cmd *cobra.Command) error {
	if cmd.Flags().Changed("limit") {
		return usageError{cmd, "--limit: " + string(p.output) + " has everything; choose by --from and --to"}
	}
	return nil
}

// show prints a value in the form that was asked for: its table for people, the value
// as the API writes it for programs.
func (p *program) show(value any, t table) error {
	if p.output == formatTable {
		return t.write(p.Out, p.Err)
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if p.output == formatYAML {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
		_, err = p.Out.Write(text)
		return err
	}
	_, err = fmt.Fprintf(p.Out, "%s\n", text)
	return err
}

// say tells a person something beside the output.
func (p *program) say(sentence string, args ...any) {
	fmt.Fprintf(p.Err, sentence+"\n", args...)
}

// terminal returns the terminal behind a reader or writer, or nil.
func terminal(stream any) *os.File {
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) calibrate() *cobra.Command {
	var ask api.CalibrateModel
	var seconds int64
	var wait, show bool
	cmd := &cobra.Command{
		Use:   "calibrate MODEL",
		Short: "Measure what one replica of a base model carries",
		Long: `Measures what one replica of a base model carries, so that throughput of it can be
reserved (plan ptu). An engine is started on hardware that is free, which is held for it,
and driven for a while with calls that keep all its slots busy. What is found: the engine
time of each token of a prompt and of an answer, and the time to the first token. Let
nothing else run on the machine meanwhile. What was sold before stays sold.`,
		Example: lines(
			"berth calibrate abacus --wait",
			"berth calibrate abacus --spec MU1 --seconds 60 --wait",
			"berth calibrate abacus --show"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if show {
				all, err := client.Calibrations(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(all, p.calibrationTable(args[0], all))
			}
			ask.Seconds = given(cmd, "seconds", seconds)
			run, err := client.CalibrateModel(cmd.Context(), args[0], ask)
			if err != nil {
				return err
			}
			if !wait {
				return p.show(run, p.calibrationFacts(run))
			}
			p.say("calibrating %s on %s for about %d s", run.Model, run.Spec, run.Seconds)
			if run, err = client.WaitCalibration(cmd.Context(), run); err != nil {
				if cmd.Context().Err() != nil {
					p.say("the calibration goes on by itself; look at it: berth calibrate %s --show", args[0])
				}
				return err
			}
			if run.Status != api.CalibrationSucceeded {
				return fmt.Errorf("the calibration of %s on %s %s: %s", run.Model, run.Spec, outcome(run.Status), run.Reason)
			}
			return p.show(run, p.calibrationFacts(run))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&ask.Spec, "spec", "", "`spec` of a replica; without it that of the model's pool")
	flags.Int64Var(&seconds, "seconds", 30, "about how many `seconds` to drive the engine, 5 to 600")
	flags.BoolVar(&wait, "wait", false, "wait until it has ended")
	flags.BoolVar(&show, "show", false, "show how the model's calibrations stand, start none")
	cmd.MarkFlagsMutuallyExclusive("show", "wait")
	cmd.MarkFlagsMutuallyExclusive("show", "spec")
	cmd.MarkFlagsMutuallyExclusive("show", "seconds")
	return cmd
}

func outcome(status string) string {
	if status == api.CalibrationInterrupted {
		return "was interrupted"
	}
	return status
}

func (p *program) calibrationTable(model string, all []api.CalibrationRun) table {
	t := table{
		columns: columns("SPEC", "STATUS", "STARTED", "INPUT/TOKEN>", "OUTPUT/TOKEN>", "FIRST TOKEN P95>", "MAX INPUT TPM>", "MAX OUTPUT TPM>", "SELLS", "REASON"),
		empty:   "Never calibrated. Do it: berth calibrate " + model + " --wait",
	}
	for _, c := range all {
		row := []string{c.Spec, c.Status, p.age(c.StartedAt), "", "", "", "", "", sells(c), c.Reason}
		if f := c.Found; f != nil {
			copy(row[3:], []string{perToken(f.InputNSPerToken), perToken(f.OutputNSPerToken), fmt.Sprintf("%d ms", f.FirstTokenP95MS), most(f.MaxInputTPM), most(f.MaxOutputTPM)})
		}
		t.add(row...)
	}
	return t
}

func (p *program) calibrationFacts(c api.CalibrationRun) table {
	pairs := []string{"Model", c.Model, "Spec", c.Spec, "Engine", c.Engine, "Status", c.Status, "Reason", c.Reason}
	f := c.Found
	if f == nil {
		return facts(append(pairs, "Started", p.age(c.StartedAt), "Look at it", "berth calibrate "+c.Model+" --show")...)
	}
	offer := fmt.Sprintf("%s input or %s output tpm of one replica", most(f.MaxInputTPM), most(f.MaxOutputTPM))
	if !c.Sells {
		offer = "nothing: the entry of the model declares other figures, or has other weights or hardware now"
	}
	return facts(append(pairs,
		"Engine version", f.EngineVersion,
		"Machine", machine(f.Machine),
		"Slots", count(f.Slots),
		"Token of a prompt", perToken(f.InputNSPerToken)+" of engine time",
		"Token of an answer", perToken(f.OutputNSPerToken)+" of engine time",
		"First token", fmt.Sprintf("p50 %d ms, p95 %d ms with all slots busy, prompts of %s", f.FirstTokenP50MS, f.FirstTokenP95MS, amount(f.FirstTokenInput, "token")),
		"Deviation", fmt.Sprintf("%.1f %%, %s", float64(f.DeviationPPM)/10_000, amount(f.Calls, "call")),
		"Measured", p.age(f.MeasuredAt),
		"Sells", offer,
	)...)
}

func machine(m api.Machine) string {
	parts := []string{amount(m.Threads, "thread")}
	if m.CPU != "" {
		parts = append([]string{m.CPU}, parts...)
	}
	return strings.Join(append(parts, m.Accelerators...), ", ")
}

func sells(c api.CalibrationRun) string {
	if c.Sells {
		return "yes"
	}
	return "no"
}

// perToken is the time of one token, such as "312 µs".
func perToken(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d >= 10*time.Microsecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%d ns", ns)
}

// most is a number of tokens per minute that may have no bound.
func most(tpm int64) string {
	if tpm == 0 {
		return "any"
	}
	return count(tpm)
}

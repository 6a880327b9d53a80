package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) workspaces() *cobra.Command {
	return parent("workspace", "Make, list, change and delete workspaces",
		p.createWorkspace(), p.listWorkspaces(), p.showWorkspace(), p.updateWorkspace(), p.deleteWorkspace())
}

// quotaFlags are the bounds of a workspace as they are typed.
type quotaFlags struct {
	memory string
	quota  api.Quota
}

func (q *quotaFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int64Var(&q.quota.Threads, "threads", 0, "most `threads` that its deployments may hold; 0: any number")
	flags.StringVar(&q.memory, "memory", "", "most memory that they may hold, such as 64GiB; 0: any `size`")
	flags.Int64Var(&q.quota.Accelerators, "accelerators", 0, "most accelerators that they may hold, a `number`; 0: any")
	flags.Int64Var(&q.quota.Deployments, "deployments", 0, "most deployments, a `number`; 0: the server's limit")
}

// apply changes what was typed of a quota.
func (q *quotaFlags) apply(cmd *cobra.Command, to *api.Quota) error {
	flags := cmd.Flags()
	for name, field := range map[string]struct{ to, from *int64 }{
		"threads": {&to.Threads, &q.quota.Threads}, "accelerators": {&to.Accelerators, &q.quota.Accelerators},
		"deployments": {&to.Deployments, &q.quota.Deployments},
	} {
		if flags.Changed(name) {
			*field.to = *field.from
		}
	}
	if flags.Changed("memory") {
		bytes, err := units.RAMInBytes(q.memory)
		if err != nil {
			return usageError{cmd, fmt.Sprintf("--memory: %q is no size; use one such as 64GiB", q.memory)}
		}
		to.MemoryBytes = bytes
	}
	return nil
}

func (q *quotaFlags) changed(cmd *cobra.Command) bool {
	for _, name := range []string{"threads", "memory", "accelerators", "deployments"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func (p *program) createWorkspace() *cobra.Command {
	var w api.CreateWorkspace
	var q quotaFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a workspace",
		Long: `Make a workspace: its deployments, keys and own models are seen by nobody else.
Give somebody a key of it with berth key create --workspace ID.`,
		Example: lines(
			"berth workspace create research",
			"berth workspace create research --models abacus,abacus-words --threads 16 --memory 64GiB --accelerators 2"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			w.Name = args[0]
			if err := q.apply(cmd, &w.Quota); err != nil {
				return err
			}
			made, err := client.CreateWorkspace(cmd.Context(), w)
			if err != nil {
				return err
			}
			return p.show(made, p.workspaceFacts(made))
		}),
	}
	cmd.Flags().StringVar(&w.AccountID, "account", "", "`id` of the account that pays; without it that of the key in use")
	cmd.Flags().StringSliceVar(&w.Models, "models", nil, "the only `models` of the catalogue that it may deploy; without it any")
	q.register(cmd)
	return cmd
}

func (p *program) updateWorkspace() *cobra.Command {
	var name, budget string
	var models []string
	var warnOnly bool
	var q quotaFlags
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change a workspace's name, models, quota or budget",
		Long: `Change a workspace's name, models, quota or budget. It holds from the next purchase on: what is
deployed stays. A budget is what it may spend in a month; when that is spent, its calls are
refused until the month is over, but for those of ptu deployments.`,
		Example: lines(
			"berth workspace update llm-4kd02x9a --threads 32",
			"berth workspace update llm-4kd02x9a --budget 500",
			"berth workspace update llm-4kd02x9a --models '*'"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			var u api.UpdateWorkspace
			if cmd.Flags().Changed("name") {
				u.Name = &name
			}
			if cmd.Flags().Changed("models") {
				u.Models = &models
			}
			if q.changed(cmd) {
				now, err := client.GetWorkspace(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if err := q.apply(cmd, &now.Quota); err != nil {
					return err
				}
				u.Quota = &now.Quota
			}
			if cmd.Flags().Changed("budget") {
				u.Budget = &api.SetBudget{WarnOnly: warnOnly}
				if budget != "none" {
					nano, err := api.ParseAmount(budget)
					if err != nil {
						return usageError{cmd, "--budget: " + err.Error() + ", or none"}
					}
					u.Budget.AmountNano = &nano
				}
			} else if cmd.Flags().Changed("warn-only") {
				return usageError{cmd, "--warn-only goes with --budget"}
			}
			changed, err := client.UpdateWorkspace(cmd.Context(), args[0], u)
			if err != nil {
				return err
			}
			return p.show(changed, p.workspaceFacts(changed))
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "new `name`")
	cmd.Flags().StringSliceVar(&models, "models", nil, "the only `models` of the catalogue that it may deploy; '*': any")
	cmd.Flags().StringVar(&budget, "budget", "", "most that it may spend in a month, an `amount` of its account's currency; none: any")
	cmd.Flags().BoolVar(&warnOnly, "warn-only", false, "refuse no call when the budget is spent")
	q.register(cmd)
	return cmd
}

func (p *program) listWorkspaces() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List workspaces",
		Example: lines("berth workspace list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			all, err := everyPage(func(cursor string) ([]api.Workspace, string, error) {
				page, err := client.Workspaces(cmd.Context(), cursor)
				return page.Workspaces, page.Next, err
			})
			if err != nil {
				return err
			}
			t := table{columns: columns("ID", "NAME", "ACCOUNT", "MODELS", "QUOTA", "CREATED"), empty: "No workspaces."}
			for _, w := range all {
				t.add(w.ID, w.Name, w.AccountID, strings.Join(w.Models, ","), quota(w.Quota), p.age(w.CreatedAt))
			}
			return p.show(all, t)
		}),
	}
}

func (p *program) showWorkspace() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a workspace",
		Example: lines("berth workspace show llm-4kd02x9a"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			w, err := client.GetWorkspace(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.show(w, p.workspaceFacts(w))
		}),
	}
}

func (p *program) deleteWorkspace() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID",
		Aliases: []string{"rm"},
		Short:   "Delete a workspace without deployments, models and valid keys",
		Example: lines("berth workspace delete llm-4kd02x9a"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if err := client.DeleteWorkspace(cmd.Context(), args[0]); err != nil {
				return err
			}
			p.say("%s is deleted.", args[0])
			return nil
		}),
	}
}

func (p *program) workspaceFacts(w api.Workspace) table {
	return facts(
		"ID", w.ID,
		"Name", w.Name,
		"Account", w.AccountID,
		"Models", strings.Join(w.Models, ", "),
		"Quota", quota(w.Quota),
		"Budget", p.budget(w.Budget),
		"Created", p.age(w.CreatedAt),
	)
}

// budget says what may be spent, and whether it is.
func (p *program) budget(b *api.Budget) string {
	if b == nil {
		return "none"
	}
	text := api.FormatAmount(b.AmountNano, "") + " a month"
	if b.WarnOnly {
		text += ", warns only"
	}
	text += ", " + api.FormatAmount(b.SpentNano, b.Currency) + " spent in " + b.Month
	if b.StoppedUntil != nil {
		text += ": calls are refused until " + b.StoppedUntil.Format(time.DateTime) + " UTC"
	}
	return text
}

// quota names the bounds that there are.
func quota(q api.Quota) string {
	var bounds []string
	if q.Threads > 0 {
		bounds = append(bounds, count(q.Threads)+" threads")
	}
	if q.MemoryBytes > 0 {
		bounds = append(bounds, size(q.MemoryBytes))
	}
	if q.Accelerators > 0 {
		bounds = append(bounds, count(q.Accelerators)+" accelerators")
	}
	if q.Deployments > 0 {
		bounds = append(bounds, count(q.Deployments)+" deployments")
	}
	if len(bounds) == 0 {
		return "none"
	}
	return strings.Join(bounds, ", ")
}

func (p *program) accounts() *cobra.Command {
	create := &cobra.Command{
		Use:     "create NAME",
		Short:   "Open an account",
		Example: lines("berth account create physics"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			made, err := client.CreateAccount(cmd.Context(), api.CreateAccount{Name: args[0]})
			if err != nil {
				return err
			}
			return p.show(made, facts("ID", made.ID, "Name", made.Name, "Currency", made.Currency, "Time zone", made.TimeZone))
		}),
	}
	list := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List accounts",
		Example: lines("berth account list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			all, err := everyPage(func(cursor string) ([]api.Account, string, error) {
				page, err := client.Accounts(cmd.Context(), cursor)
				return page.Accounts, page.Next, err
			})
			if err != nil {
				return err
			}
			t := table{columns: columns("ID", "NAME", "CURRENCY", "TIME ZONE", "PAYS"), empty: "No accounts."}
			for _, a := range all {
				t.add(a.ID, a.Name, currencies(a), a.TimeZone, pays(a))
			}
			return p.show(all, t)
		}),
	}
	return parent("account", "Open, list and change the accounts that pay for workspaces", create, list, p.showAccount(), p.updateAccount(), p.accountBalance())
}

func (p *program) showAccount() *cobra.Command {
	return &cobra.Command{
		Use:     "show [ID]",
		Short:   "Show an account and how it pays",
		Long:    "Show an account and how it pays. Without an id, the only account there is.",
		Example: lines("berth account show", "berth account show 1000000000000001"),
		Args:    arguments(cobra.MaximumNArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			id, err := p.theAccount(cmd, client, strings.Join(args, ""))
			if err != nil {
				return err
			}
			a, err := client.GetAccount(cmd.Context(), id)
			if err != nil {
				return err
			}
			return p.show(a, accountFacts(a))
		}),
	}
}

func accountFacts(a api.Account) table {
	return facts("ID", a.ID, "Name", a.Name, "Currency", currencies(a), "Time zone", a.TimeZone, "Pays", pays(a))
}

func (p *program) updateAccount() *cobra.Command {
	var prepaid, postpaid, unlimited bool
	var limit, currency, from string
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change how an account pays",
		Long: `Change how an account pays. A prepaid one spends what it has paid, a post-paid one owes up to its
credit limit. Who may spend nothing any more buys nothing, and what runs is taken down after 24
hours; it comes back after a payment.`,
		Example: lines(
			"berth account update 1000000000000001 --prepaid",
			"berth account update 1000000000000001 --post-paid --credit-limit 500",
			"berth account update 1000000000000001 --currency USD --from 2027-01-01T00:00:00Z"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			u := api.UpdateAccount{Unlimited: unlimited, Currency: currency}
			if prepaid || postpaid {
				u.Prepaid = &prepaid
			}
			if limit != "" {
				nano, err := api.ParseAmount(limit)
				if err != nil {
					return usageError{cmd, "--credit-limit: " + err.Error()}
				}
				u.CreditLimitNano = &nano
			}
			if from != "" {
				at, err := time.Parse(time.RFC3339, from)
				if err != nil {
					return usageError{cmd, fmt.Sprintf("--from: %q is no time; write one such as 2027-01-01T00:00:00Z", from)}
				}
				u.CurrencyFrom = &at
			}
			a, err := client.UpdateAccount(cmd.Context(), args[0], u)
			if err != nil {
				return err
			}
			return p.show(a, accountFacts(a))
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&prepaid, "prepaid", false, "it spends what it has paid")
	flags.BoolVar(&postpaid, "post-paid", false, "it owes, up to its credit limit if it has one")
	flags.StringVar(&limit, "credit-limit", "", "most that it may owe, an `amount` of its currency")
	flags.BoolVar(&unlimited, "unlimited", false, "it may owe any amount")
	flags.StringVar(&currency, "currency", "", "what it is charged in from then on, a `code` of ISO 4217")
	flags.StringVar(&from, "from", "", "`time` from which the currency holds; without it the next full minute")
	cmd.MarkFlagsMutuallyExclusive("prepaid", "post-paid")
	cmd.MarkFlagsMutuallyExclusive("prepaid", "credit-limit")
	cmd.MarkFlagsMutuallyExclusive("prepaid", "unlimited")
	cmd.MarkFlagsMutuallyExclusive("credit-limit", "unlimited")
	return cmd
}

// currencies names those of an account, in order of time.
func currencies(a api.Account) string {
	text := a.Currency
	for _, l := range a.Later {
		text += ", " + l.Currency + " from " + l.From.Format(time.RFC3339)
	}
	return text
}

// pays says how an account does.
func pays(a api.Account) string {
	text := "later, any amount"
	if a.CreditLimitNano != nil {
		text = "later, up to " + money(*a.CreditLimitNano, a.Currency)
	}
	if a.Prepaid {
		text = "in advance"
	}
	if a.OverdueSince != nil {
		text += "; overdue since " + a.OverdueSince.Format(time.RFC3339)
	}
	return text
}

package cli

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

// money writes an amount with its currency.
func money(nano int64, currency string) string {
	return api.FormatAmount(nano, currency) + " " + currency
}

// accountFlag is --account, without which the only account is meant.
func accountFlag(cmd *cobra.Command, id *string) {
	cmd.Flags().StringVar(id, "account", "", "`id` of the account; without it the only one there is")
}

// theAccount finds the account that a command is about.
func (p *program) theAccount(cmd *cobra.Command, client *api.Client, id string) (string, error) {
	if id != "" {
		return id, nil
	}
	page, err := client.Accounts(cmd.Context(), "")
	if err != nil {
		return "", err
	}
	if len(page.Accounts) != 1 {
		return "", usageError{cmd, "there are several accounts; name the one you mean (berth account list shows them)"}
	}
	return page.Accounts[0].ID, nil
}

func (p *program) payments() *cobra.Command {
	return parent("payment", "Book and list payments", p.addPayment(), p.listPayments())
}

func (p *program) addPayment() *cobra.Command {
	var account string
	var pay api.AddPayment
	cmd := &cobra.Command{
		Use:   "add AMOUNT",
		Short: "Book a payment for an account",
		Long: `Book a payment for an account, once: a repeat with the same reference changes nothing.
An amount below 0 takes money back; write -- before it.`,
		Example: lines(
			"berth payment add 500 --reference 'transfer 2026-10-02/7'",
			"berth payment add --account 1000000000000001 --reference 'mistake of 2026-10-02' -- -500"),
		Args: arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			var err error
			if pay.AmountNano, err = api.ParseAmount(args[0]); err != nil {
				return usageError{cmd, err.Error()}
			}
			id, err := p.theAccount(cmd, client, account)
			if err != nil {
				return err
			}
			made, err := client.AddPayment(cmd.Context(), id, pay)
			if err != nil {
				return err
			}
			return p.show(made, facts(
				"Payment", made.ID, "Account", made.AccountID, "Amount", money(made.AmountNano, made.Currency),
				"Reference", made.Reference, "Booked", p.moment(made.At)))
		}),
	}
	accountFlag(cmd, &account)
	cmd.Flags().StringVar(&pay.Reference, "reference", "", "`name` of the payment, such as the transfer's number")
	cmd.Flags().StringVar(&pay.Currency, "currency", "", "`code` of a currency of the account; without it its present one")
	if err := cmd.MarkFlagRequired("reference"); err != nil {
		panic(err)
	}
	return cmd
}

func (p *program) listPayments() *cobra.Command {
	var account string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the payments of an account",
		Example: lines("berth payment list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			id, err := p.theAccount(cmd, client, account)
			if err != nil {
				return err
			}
			all, err := everyPage(func(cursor string) ([]api.Payment, string, error) {
				page, err := client.Payments(cmd.Context(), id, cursor)
				return page.Payments, page.Next, err
			})
			if err != nil {
				return err
			}
			t := table{columns: columns("BOOKED", "AMOUNT>", "CURRENCY", "REFERENCE"), empty: "No payments."}
			for _, v := range all {
				t.add(p.moment(v.At), api.FormatAmount(v.AmountNano, v.Currency), v.Currency, v.Reference)
			}
			return p.show(all, t)
		}),
	}
	accountFlag(cmd, &account)
	return cmd
}

func (p *program) accountBalance() *cobra.Command {
	return &cobra.Command{
		Use:   "balance [ID]",
		Short: "Show what an account has and may spend",
		Long: `Show what an account has and may spend: what was paid, less what was charged and the
deposits for what runs. Without an id, of the only account there is.`,
		Example: lines("berth account balance", "berth account balance 1000000000000001"),
		Args:    arguments(cobra.MaximumNArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			id, err := p.theAccount(cmd, client, strings.Join(args, ""))
			if err != nil {
				return err
			}
			b, err := client.Balance(cmd.Context(), id)
			if err != nil {
				return err
			}
			return p.show(b, balanceTable(b))
		}),
	}
}

func balanceTable(b api.Balance) table {
	t := table{columns: columns("CURRENCY", "PAID>", "CHARGED>", "DEPOSITS>", "BALANCE>", "MAY SPEND>")}
	for _, f := range b.Balances {
		spendable := "any amount"
		if f.SpendableNano != nil {
			spendable = api.FormatAmount(*f.SpendableNano, f.Currency)
		}
		t.add(f.Currency, api.FormatAmount(f.PaidNano, f.Currency), api.FormatAmount(f.ChargedNano, f.Currency),
			api.FormatAmount(f.DepositsNano, f.Currency), api.FormatAmount(f.BalanceNano, f.Currency), spendable)
	}
	return t
}

func (p *program) ledger() *cobra.Command {
	var f api.PostingFilter
	var from, to string
	var most int
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show what was posted to the accounts",
		Long: `Show what was posted to the accounts, oldest first. The entries of a posting add to 0:
what one side gets, another gives. Nothing in the ledger is ever changed. Output can also
be csv, an entry on each line, or ndjson, a posting on each; both have all of them. Days
and times are those of this machine; days of statements are those of the account.`,
		Example: lines(
			"berth ledger --from 7d",
			"berth ledger --cause payment",
			"berth ledger --from 2026-10-01 --to 2026-11-01 -o csv > october.csv"),
		Args:        arguments(cobra.NoArgs),
		Annotations: exports,
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			window, err := p.usageFilter(cmd, from, to)
			if err != nil {
				return err
			}
			f.From, f.To = window.From, window.To
			if p.exporting() {
				if err := p.noLimit(cmd); err != nil {
					return err
				}
				return client.WriteLedger(cmd.Context(), p.Out, string(p.output), f)
			}
			all, more, err := somePages(most, func(cursor string) ([]api.Posting, string, error) {
				page, err := client.Ledger(cmd.Context(), f, cursor)
				return page.Postings, page.Next, err
			})
			if err != nil {
				return err
			}
			if more {
				p.sayMore("first", most)
			}
			return p.show(all, p.postingTable(all))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.AccountID, "account", "", "only postings of this account, by `id`")
	flags.StringVar(&f.WorkspaceID, "workspace", "", "only postings about this workspace, by `id`")
	flags.StringVar(&f.DeploymentID, "deployment", "", "only postings about this deployment, by inner `id` (dep_…)")
	causes := []string{api.CausePayment, api.CauseDeposit, api.CauseRefund, api.CauseCharge, api.CauseCorrection}
	flags.StringVar(&f.Cause, "cause", "", "only postings for this `reason`: "+strings.Join(causes, ", "))
	flags.StringVar(&from, "from", "", "postings since this `time`: 2026-10-02, 2026-10-02T15:00:00Z, 90m or 7d ago")
	flags.StringVar(&to, "to", "", "postings before this `time`")
	flags.IntVar(&most, "limit", 1000, "at most this `number` of postings; 0: all")
	complete(cmd, "cause", causes...)
	return cmd
}

// postingTable shows each entry on a line, the first with its posting.
func (p *program) postingTable(postings []api.Posting) table {
	t := table{columns: columns("AT", "CAUSE", "ACCOUNT", "AMOUNT>", "CURRENCY", "REFERENCE"), empty: "Nothing was posted."}
	for _, v := range postings {
		at, cause, reference := p.moment(v.At), v.Cause, cmp.Or(v.Reference, v.ID)
		for _, e := range v.Entries {
			t.add(at, cause, e.Account, api.FormatAmount(e.AmountNano, v.Currency), v.Currency, reference)
			at, cause, reference = "", "", ""
		}
	}
	return t
}

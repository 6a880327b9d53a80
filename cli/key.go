package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berthhq/berth/api"
)

func (p *program) keys() *cobra.Command {
	return parent("key", "Make, list and revoke API keys", p.createKey(), p.listKeys(), p.revokeKey())
}

func (p *program) createKey() *cobra.Command {
	var k api.CreateKey
	var expires string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an API key",
		Long: `Make an API key and print it, this once and never again.

Roles: inference calls models and sees its own usage; admin does everything inside its
workspace; owner does everything on the server.`,
		Example: lines(
			"berth key create --role inference --name phone-app --deployment abacus-1f0c77aa",
			"berth key create --role admin --workspace llm-4kd02x9a --expires 30d"),
		Args: arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			if expires != "" {
				var err error
				if k.ExpiresAt, err = p.parseExpiry(expires); err != nil {
					return usageError{cmd, "--expires: " + err.Error()}
				}
			}
			made, err := client.CreateKey(cmd.Context(), k)
			if err != nil {
				return err
			}
			if p.output == formatTable {
				p.say("Key %s, role %s. Keep it now; it is not shown again.", made.ID, made.Role)
			}
			t := table{columns: columns("")}
			t.add(made.Text)
			return p.show(made, t)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&k.Role, "role", api.RoleInference, "`role`: inference, admin or owner")
	flags.StringVar(&k.WorkspaceID, "workspace", "", "`id` of the workspace; without it that of the key in use")
	flags.StringVar(&k.Name, "name", "", "`name` for people")
	flags.StringSliceVar(&k.Deployments, "deployment", nil, "the only `names` of deployments that a key of role inference may call")
	flags.StringVar(&expires, "expires", "", "`when` it ends: 12h, 30d, 2027-01-01 or 2027-01-01T08:00:00Z; without it never")
	complete(cmd, "role", api.RoleInference, api.RoleAdmin, api.RoleOwner)
	return cmd
}

// parseExpiry reads a day, a time or a duration from now on.
func (p *program) parseExpiry(s string) (time.Time, error) {
	if d, err := parseDuration(s); err == nil {
		return p.Now().Add(d), nil
	}
	t, err := p.parseTime(s)
	if err != nil {
		err = fmt.Errorf("%q is neither a day (2027-01-01) nor a time (2027-01-01T08:00:00Z) nor how long from now (12h, 30d)", s)
	}
	return t, err
}

func (p *program) listKeys() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List API keys, without their text",
		Example: lines("berth key list"),
		Args:    arguments(cobra.NoArgs),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			all, err := client.ListKeys(cmd.Context())
			if err != nil {
				return err
			}
			t := table{columns: columns("ID", "KEY", "ROLE", "WORKSPACE", "DEPLOYMENTS", "NAME", "CREATED", "STATE"), empty: "No keys."}
			for _, k := range all {
				t.add(k.ID, k.Hint, k.Role, k.WorkspaceID, strings.Join(k.Deployments, ","), k.Name, p.age(k.CreatedAt), p.keyState(k))
			}
			return p.show(all, t)
		}),
	}
}

func (p *program) keyState(k api.Key) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked " + p.age(k.RevokedAt)
	case k.ExpiresAt.IsZero():
		return "valid"
	case k.ExpiresAt.After(p.Now()):
		return "ends " + p.age(k.ExpiresAt)
	}
	return "ended " + p.age(k.ExpiresAt)
}

func (p *program) revokeKey() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "End the validity of an API key, from the next call on",
		Example: lines("berth key revoke key_01999b3c-2f7e-7cc1-b4de-5a3f0c1d2e3f"),
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: p.withClient(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if err := client.RevokeKey(cmd.Context(), args[0]); err != nil {
				return err
			}
			p.say("%s is revoked.", args[0])
			return nil
		}),
	}
}

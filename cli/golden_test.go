package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each file of testdata is what one command line shows.
func TestWhatCommandsShow(t *testing.T) {
	t.Parallel()
	for name, commandLine := range map[string]string{
		"help":              "--help",
		"help_deploy":       "deploy --help",
		"help_key":          "key",
		"version":           "--version",
		"list":              "list",
		"list_json":         "list -o json",
		"get":               "get abacus-1f0c77aa",
		"get_failed":        "get abacus-1f0c77aa-chat",
		"get_yaml":          "get abacus-1f0c77aa -o yaml",
		"get_replicas":      "get abacus-1f0c77aa --replicas",
		"delete":            "delete poet",
		"delete_unknown":    "delete nobody",
		"events":            "events abacus-1f0c77aa",
		"explain":           "explain abacus-1f0c77aa",
		"logs":              "logs abacus-1f0c77aa",
		"deploy":            "deploy poet --plan lora",
		"quote":             "deploy abacus --plan mu --spec MU1 --capacity 4 --dry-run",
		"quote_tokens":      "deploy poet --dry-run --plan lora",
		"quote_poor":        "deploy abacus --plan ptu --input-tpm 20000 --output-tpm 2000 --dry-run",
		"model_list":        "model list",
		"model_show":        "model show abacus",
		"model_show_alias":  "model show qwen-plus",
		"model_add":         "model add abacus --path /models/abacus.gguf",
		"model_delete":      "model delete abacus",
		"model_show_cal":    "model show measured",
		"help_calibrate":    "calibrate --help",
		"calibrate":         "calibrate abacus --spec MU1",
		"calibrate_wait":    "calibrate measured --wait",
		"calibrate_failed":  "calibrate broken --wait",
		"calibrate_show":    "calibrate abacus --show",
		"key_list":          "key list",
		"key_create":        "key create --role admin",
		"key_revoke":        "key revoke key_1",
		"help_workspace":    "workspace",
		"workspace_list":    "workspace list",
		"workspace_create":  "workspace create research --models abacus --memory 64GiB",
		"workspace_show":    "workspace show llm-4kd02x9a",
		"workspace_update":  "workspace update llm-4kd02x9a --threads 16",
		"workspace_delete":  "workspace delete llm-4kd02x9a",
		"account_list":      "account list",
		"account_create":    "account create physics",
		"help_import":       "import",
		"help_upload":       "upload",
		"upload_list":       "upload list",
		"upload_delete":     "upload delete upl_1 upl_2",
		"import_create":     "import create --base abacus --store bucket1 --folder adapters/poet",
		"import_wait":       "import create --base abacus --store bucket1 --folder adapters/poet/ --wait",
		"import_list":       "import list",
		"import_get":        "import get imp_2",
		"import_cancel":     "import cancel imp_2",
		"import_delete":     "import delete imp_1",
		"help_capacity":     "capacity",
		"capacity_list":     "capacity list abacus-1f0c77aa-chat",
		"capacity_show":     "capacity show abacus-1f0c77aa-chat cap_1",
		"capacity_create":   "capacity create abacus-1f0c77aa-chat --input-tpm 1000 --output-tpm 100 --prepaid-days 30",
		"capacity_scale":    "capacity scale abacus-1f0c77aa-chat cap_1 --input-tpm 1000 --output-tpm 100",
		"capacity_renew":    "capacity renew abacus-1f0c77aa-chat cap_1 --days 30",
		"capacity_delete":   "capacity delete abacus-1f0c77aa-chat cap_2 --reason idle",
		"overflow":          "overflow abacus-1f0c77aa-chat disable",
		"node_list":         "node list",
		"push":              "push",
		"usage":             "usage",
		"statement":         "statement 2026-09",
		"statement_csv":     "statement 2026-09 --csv --workspace llm-4kd02x9a",
		"statement_html":    "statement 2026-09 --html",
		"statement_line":    "statement 2026-09 --line 2026-09-02.dep_2.output.shared.128000.price_3.CNY",
		"statement_minutes": "statement 2026-09 --line 2026-09-02.dep_1.unit_minute..0.price_1.CNY",
		"statement_line_as": "statement 2026-09 --line x --html",
		"statement_name":    "statement 2026-09 --line 1570",
		"statement_calls":   "statement 2026-09 --line 5d1e50db --csv",
		"statement_no_line": "statement 2026-09 --line 00000000",
		"statement_ndjson":  "statement 2026-09 -o ndjson",
		"ledger_csv":        "ledger -o csv",
		"price_list_csv":    "price list -o csv",
		"account_show":      "account show",
		"usage_what":        "usage recrods",
		"quote_how":         "quote",
		"payment_unnamed":   "payment add 5",
		"account_both":      "account update 7 --prepaid --credit-limit 5",
		"price_list_when":   "price list --at 2030-13-01",
		"statement_by":      "statement 2026-09 --by deployment",
		"statement_by_what": "statement 2026-09 --by hour",
		"statement_dir":     "statement 2026-09 --dir x",
		"statement_none":    "statement",
		"statement_both":    "statement --csv --html",
		"price_dry_run":     "price dry-run 2026-09 --spec MU1 --dimension unit_minute --price 49",
		"help_price":        "price set --help",
		"price_list":        "price list --history",
		"price_set":         "price set --spec MU1 --dimension unit_minute --withdraw",
		"price_set_wrong":   "price set --spec MU1 --dimension unit_minute --price 1.2.3",
		"payment_add":       "payment add 1,500 --reference transfer",
		"payment_list":      "payment list",
		"account_balance":   "account balance",
		"ledger":            "ledger",
		"ledger_few":        "ledger --limit 1",
		"usage_by_day":      "usage --group-by day,deployed_model",
		"usage_records":     "usage --records",
		"usage_records_few": "usage --records --limit 1",
		"reconciliation":    "reconciliation --from 7d",
		"audit":             "audit --action deployment",
		"audit_few":         "audit --limit 1",
		"audit_csv":         "audit -o csv",
		"audit_csv_few":     "audit -o csv --limit 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := furnished(t).run(t, "", strings.Fields(commandLine)...)
			got := fmt.Sprintf("$ berth %s\n%s", commandLine, r.out)
			if r.err != "" {
				got += "--- stderr\n" + r.err
			}
			got += fmt.Sprintf("--- exit %d\n", r.code)
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("got\n%s\nwant (%v)\n%s", got, err, want)
			}
		})
	}
}

func TestEmptyTablesSayWhatToDo(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET /api/v1/deployments", output(map[string]any{"deployments": nil}))
	r := f.run(t, "", "list")
	if r.code != 0 || r.out != "" || !strings.Contains(r.err, "berth deploy") {
		t.Errorf("got %+v", r)
	}
	if r := f.run(t, "", "list", "-o", "json"); r.out != "[]\n" {
		t.Errorf("got %q as JSON", r.out)
	}
}

package berth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

func TestWhatModelsCost(t *testing.T) {
	t.Parallel()
	price := func(model string, plan berth.Plan, spec string, d berth.Dimension, from int64, nano berth.Nano, per int64) berth.Price {
		return berth.Price{ID: fmt.Sprint(model, plan, spec, d, from), Model: model, Plan: plan, Spec: spec, Dimension: d, FromTokens: from, Nano: nano, Per: per, Currency: "CNY", From: time.Unix(1, 0)}
	}
	book := berth.NewBook([]berth.Price{
		price("*", berth.PlanMU, "", berth.DimensionUnitMinute, 0, 54, 60),
		price("m", berth.PlanMU, "MU2", berth.DimensionUnitMinute, 0, 137, 60),
		price("base", berth.PlanLoRA, "", berth.DimensionInput, 0, 5, 1000),
		price("base", berth.PlanLoRA, "", berth.DimensionOutput, 0, 48, 1000),
		price("base", berth.PlanLoRA, "", berth.DimensionOutput, 128, 144, 1000),
		price("base", berth.PlanLoRA, "", berth.DimensionThinking, 0, 49, 1000),
		price("*", "", "", berth.DimensionInputTPMMinute, 0, 36, 60),
		{ID: "other", Model: "*", Dimension: berth.DimensionOutputTPMMinute, Nano: 1, Per: 1, Currency: "USD"},
	})
	for _, c := range []struct {
		model berth.Model
		specs []string
		want  string
	}{
		{berth.Model{Name: "m", Plans: []berth.Plan{berth.PlanMU}}, []string{"MU1", "MU2"}, "mu MU1 unit_minute 54/60; mu MU2 unit_minute 137/60"},
		{berth.Model{Name: "far", Plans: []berth.Plan{berth.PlanMU}}, nil, "mu unit_minute 54/60"},
		{
			berth.Model{Name: "tuned", Base: "base", Plans: []berth.Plan{berth.PlanLoRA, berth.PlanMU}},
			[]string{"MU1"}, "lora input 5/1000; lora output 48/1000; lora output 128+ 144/1000; lora thinking 49/1000; mu MU1 unit_minute 54/60",
		},
		{berth.Model{Name: "x", Plans: []berth.Plan{berth.PlanPTU}}, []string{"MU1"}, "ptu 10k_input_tpm_minute 36/60; ptu 1k_output_tpm_minute unpriced; ptu input unpriced; ptu output unpriced"},
	} {
		var got []string
		for _, tag := range book.Tags(&c.model, c.specs, berth.Asked{Currency: "CNY", At: time.Unix(2, 0)}) {
			words := []string{string(tag.Plan), tag.Spec, string(tag.Dimension), "", fmt.Sprintf("%d/%d", tag.Nano, tag.Per)}
			if tag.FromTokens > 0 {
				words[3] = fmt.Sprintf("%d+", tag.FromTokens)
			}
			if tag.Unpriced {
				words[4] = "unpriced"
			}
			got = append(got, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %q, want %q", c.model.Name, strings.Join(got, "; "), c.want)
		}
	}
}

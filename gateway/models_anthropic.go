package gateway

import (
	"time"

	berth "github.com/berthhq/berth"
)

// anthropicModel is a model in Anthropic's list (api.md 9.7).
type anthropicModel struct {
	Type        string    `json:"type"`
	ID          string    `json:"id"`
	DisplayName string    `json:"display_name"`
	CreatedAt   time.Time `json:"created_at"`
}

// anthropicModels are all of them: there is never a further page.
type anthropicModels struct {
	Data    []anthropicModel `json:"data"`
	HasMore bool             `json:"has_more"`
	FirstID *string          `json:"first_id"` // null in an empty list
	LastID  *string          `json:"last_id"`
}

func anthropicModelOf(route *berth.Route) any {
	return anthropicModel{"model", route.DeployedModel, route.DeployedModel, route.CreatedAt.UTC().Truncate(time.Second)}
}

func anthropicListOf(routes []*berth.Route) any {
	list := anthropicModels{Data: []anthropicModel{}}
	for _, route := range routes {
		list.Data = append(list.Data, anthropicModelOf(route).(anthropicModel))
	}
	if n := len(list.Data); n > 0 {
		list.FirstID, list.LastID = &list.Data[0].ID, &list.Data[n-1].ID
	}
	return list
}

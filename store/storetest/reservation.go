package storetest

import (
	"context"
	"time"

	berth "github.com/berthhq/berth"
)

// reservations: capacity instances and their operations.
var reservations = []promise{
	{"a capacity instance keeps every field", trip[berth.CapacityInstance]{
		place: func(i *berth.CapacityInstance) { i.ID, i.DeploymentID = "cap_new", deploymentID },
		insert: func(ctx context.Context, tx berth.Tx, i berth.CapacityInstance) error {
			return tx.Capacities().Insert(ctx, i)
		},
		update: func(ctx context.Context, tx berth.Tx, i berth.CapacityInstance) error {
			return tx.Capacities().Update(ctx, i)
		},
		read: func(ctx context.Context, tx berth.Tx) (berth.CapacityInstance, error) {
			list, err := tx.Capacities().OfDeployment(ctx, deploymentID)
			return pick(list, err, func(berth.CapacityInstance) bool { return true })
		},
	}.check},
	{"a capacity operation keeps every field", func(s suite) {
		s.withInstance("cap_first", time.Time{})
		trip[berth.CapacityOperation]{
			place: func(o *berth.CapacityOperation) { o.ID, o.DeploymentID, o.InstanceID = "1", deploymentID, "cap_first" },
			insert: func(ctx context.Context, tx berth.Tx, o berth.CapacityOperation) error {
				return tx.Capacities().InsertOperation(ctx, o)
			},
			update: func(ctx context.Context, tx berth.Tx, o berth.CapacityOperation) error {
				return tx.Capacities().UpdateOperation(ctx, o)
			},
			read: func(ctx context.Context, tx berth.Tx) (berth.CapacityOperation, error) {
				return tx.Capacities().Operation(ctx, "1")
			},
		}.steps(s)
	}},
	{"a request begins one operation of a deployment", func(s suite) {
		s.withInstance("cap_first", time.Time{})
		ctx := s.Context()
		operation := func(id, request string) berth.CapacityOperation {
			return berth.CapacityOperation{ID: id, DeploymentID: deploymentID, InstanceID: "cap_first", RequestID: request, Status: berth.OperationProcessing}
		}
		s.write(func(tx berth.Tx) error {
			return first(
				tx.Capacities().InsertOperation(ctx, operation("1", "request")), tx.Capacities().InsertOperation(ctx, operation("2", "")),
				tx.Capacities().InsertOperation(ctx, operation("3", "")),
			)
		})
		s.refuse(berth.CodeConflict, func(tx berth.Tx) error {
			return tx.Capacities().InsertOperation(ctx, operation("4", "request"))
		})
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error {
			_, err := tx.Capacities().OperationOf(ctx, deploymentID, "")
			return err
		})
		s.refuse(berth.CodeNotFound, func(tx berth.Tx) error {
			_, err := tx.Capacities().OperationOf(ctx, "dep_other", "request")
			return err
		})
		view(s, func(tx berth.Tx) (struct{}, error) {
			found, err1 := tx.Capacities().OperationOf(ctx, deploymentID, "request")
			s.same("operation of the request", found.ID, "1")
			open, err2 := tx.Capacities().Processing(ctx, deploymentID)
			s.same("under way", ids(open, func(o berth.CapacityOperation) string { return o.ID }), []string{"1", "2", "3"})
			none, err3 := tx.Capacities().Processing(ctx, "dep_other")
			s.same("of another deployment", len(none), 0)
			return struct{}{}, first(err1, err2, err3)
		})
	}},
	{"what is due comes earliest first, and when the next is", func(s suite) {
		s.withInstance("cap_never", time.Time{})
		ctx := s.Context()
		for id, minutes := range map[string]int{"cap_late": 9, "cap_second": 2, "cap_first": 1, "cap_tie": 2} {
			s.write(func(tx berth.Tx) error {
				return tx.Capacities().Insert(ctx, berth.CapacityInstance{ID: id, DeploymentID: deploymentID, DueAt: epoch.Add(time.Duration(minutes) * time.Minute)})
			})
		}
		due := func(minutes int, limit int64) ([]string, time.Time) {
			var next time.Time
			list := view(s, func(tx berth.Tx) (list []berth.CapacityInstance, err error) {
				list, next, err = tx.Capacities().Due(ctx, epoch.Add(time.Duration(minutes)*time.Minute), limit)
				return list, err
			})
			return ids(list, func(i berth.CapacityInstance) string { return i.ID }), next
		}
		list, next := due(2, 10)
		s.same("due", list, []string{"cap_first", "cap_second", "cap_tie"})
		s.same("next", next, epoch.Add(9*time.Minute))
		list, _ = due(9, 2)
		s.same("at most two", list, []string{"cap_first", "cap_second"})
		list, next = due(9, 10)
		s.same("all", len(list), 4)
		s.same("no next", next, time.Time{})
	}},
}

// withInstance settles and adds one capacity instance.
func (s suite) withInstance(id string, due time.Time) {
	s.Helper()
	s.settle()
	s.write(func(tx berth.Tx) error {
		return tx.Capacities().Insert(s.Context(), berth.CapacityInstance{ID: id, DeploymentID: deploymentID, DueAt: due})
	})
}

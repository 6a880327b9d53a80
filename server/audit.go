package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// listAudits is GET /berth/v1/audit (design 10). As a file it has all entries.
func (s *Server) listAudits(ctx context.Context, r *http.Request) (any, error) {
	form, err := formOf(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	f := berth.AuditFilter{
		WorkspaceID: query.Get("workspace_id"), KeyID: query.Get("key_id"), Action: query.Get("action"), Target: query.Get("target"),
	}
	if f.From, f.To, err = period(r); err != nil {
		return nil, err
	}
	size, err := number(r, "limit", ownPage, 1, ownPage)
	if err != nil {
		return nil, err
	}
	after, err := readAuditPlace(query.Get("cursor"))
	if err != nil {
		return nil, err
	}
	list, err := s.Audits.Page(ctx, f, after, size)
	if err != nil {
		return nil, err
	}
	if form != formJSON {
		return s.auditExport(ctx, form, f, list, size), nil
	}
	out := api.AuditEntries{Entries: make([]api.AuditEntry, len(list))}
	for i := range list {
		out.Entries[i] = auditEntry(&list[i])
	}
	if int64(len(list)) == size {
		out.Next = writeAuditPlace(&list[size-1])
	}
	return out, nil
}

func auditEntry(a *berth.Audit) api.AuditEntry {
	return api.AuditEntry{ID: a.ID, At: a.At, WorkspaceID: a.WorkspaceID, KeyID: a.KeyID, Action: a.Action, Target: a.Target}
}

var auditColumns = []string{"id", "at", "workspace_id", "key_id", "action", "target"}

func (s *Server) auditExport(ctx context.Context, form string, f berth.AuditFilter, list []berth.Audit, size int64) export {
	last := list
	more := func() (_ []berth.Audit, err error) {
		if int64(len(last)) < size {
			return nil, nil
		}
		end := &last[size-1]
		last, err = s.Audits.Page(ctx, f, &berth.AuditPlace{At: end.At, ID: end.ID}, size)
		return last, err
	}
	return paged(form, "audit", auditColumns, list, more, func(a *berth.Audit) (any, []any) {
		e := auditEntry(a)
		return e, []any{e.ID, e.At, e.WorkspaceID, e.KeyID, e.Action, e.Target}
	})
}

// A cursor is the nanosecond and id of the entry that came last.
func writeAuditPlace(a *berth.Audit) string {
	return strconv.FormatInt(a.At.UnixNano(), 10) + "." + a.ID
}

func readAuditPlace(cursor string) (*berth.AuditPlace, error) {
	if cursor == "" {
		return nil, nil
	}
	at, id, ok := strings.Cut(cursor, ".")
	nanos, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !ok {
		return nil, berth.Errorf(berth.CodeInvalid, "The cursor is not one of this list; use the next of its last page.")
	}
	return &berth.AuditPlace{At: time.Unix(0, nanos).UTC(), ID: id}, nil
}

package cli

// everyPage reads a list to its end.
func everyPage[T any](read func(cursor string) ([]T, string, error)) ([]T, error) {
	all, _, err := somePages(0, read)
	return all, err
}

// somePages reads pages until there are most of what they have, 0: all; more reports
// whether there is more.
func somePages[T any](most int, read func(cursor string) ([]T, string, error)) (all []T, more bool, err error) {
	all = []T{}
	for cursor := ""; ; {
		page, next, err := read(cursor)
		if err != nil {
			return nil, false, err
		}
		all = append(all, page...)
		if most > 0 && (len(all) > most || len(all) == most && next != "") {
			return all[:most], true, nil
		}
		if next == "" {
			return all, false, nil
		}
		cursor = next
	}
}

// sayMore tells a person that a list was cut: which part of it is shown.
func (p *program) sayMore(part string, most int) {
	p.say("These are the %s %s; narrow them with --from and --to, or see all with --limit 0.", part, count(int64(most)))
}

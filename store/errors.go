package store

import (
	"database/sql"
	"errors"
	"fmt"

	berth "github.com/berthhq/berth"
)

// missing is the refusal of what names a row that is not there.
func missing(noun string) error {
	return berth.Errorf(berth.CodeNotFound, "There is no such %s.", noun)
}

// exists is the refusal of a value that is unique and taken.
func exists(noun string, cause error) error {
	return &berth.Error{Code: berth.CodeConflict, Message: fmt.Sprintf("This %s exists already.", noun), Err: cause}
}

// wrote turns the error of a write into ours.
func (d *dialect) wrote(noun string, err error) error {
	switch {
	case err == nil:
		return nil
	case d.taken(err):
		return exists(noun, err)
	}
	return fmt.Errorf("write %s: %w", noun, err)
}

// read turns the error of a read into ours.
func read(noun string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return missing(noun)
	}
	return fmt.Errorf("read %s: %w", noun, err)
}

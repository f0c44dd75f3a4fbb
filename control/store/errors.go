package store

import "errors"

// Errors that callers decide on.
var (
	// ErrDamaged: the file is not a whole, valid store. The text names the
	// file and what to do about it.
	ErrDamaged = errors.New("state file damaged")
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("state file is in use by another process")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store closed")
	// ErrNotFound: there is no live row under this table and key.
	ErrNotFound = errors.New("no such row")
	// ErrMalformed: a row breaks a limit of its form; nothing was merged.
	ErrMalformed = errors.New("malformed row")
	// ErrNotOwner: the row is about another node, which alone may write it.
	ErrNotOwner = errors.New("row belongs to another node")
	// ErrBroken: a write failed in a way that leaves open what the disk
	// holds. Nothing more is written until the store is opened again.
	ErrBroken = errors.New("store cannot be written until it is opened again")
)

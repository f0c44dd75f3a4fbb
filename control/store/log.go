package store

import (
	"iter"
	"sync"
)

// maxLog bounds how many names of changed rows are remembered, for readers that
// do not want to look at all rows again.
const maxLog = 1 << 16

// changeLog is which rows each of the last versions has changed. All snapshots of
// a store share it.
type changeLog struct {
	mu sync.Mutex
	// versions ascend without gaps; begun is the one before the first.
	versions []changedRows
	begun    uint64
	names    int
}

type changedRows struct {
	version uint64
	rows    []RowName
}

func (l *changeLog) add(version uint64, rows iter.Seq[RowName]) {
	c := changedRows{version: version}
	for name := range rows {
		c.rows = append(c.rows, name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.versions) == 0 {
		l.begun = version - 1
	}
	l.versions = append(l.versions, c)
	l.names += len(c.rows)
	drop := 0
	for ; l.names > maxLog; drop++ {
		l.names -= len(l.versions[drop].rows)
		l.begun = l.versions[drop].version
	}
	l.versions = l.versions[drop:]
}

// between returns what the versions after from, up to and with to, have
// changed; false if some of them are not remembered.
func (l *changeLog) between(from, to uint64) (names []RowName, ok bool) {
	if from == to {
		return nil, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if from > to || len(l.versions) == 0 || from < l.begun {
		return nil, false
	}
	for _, c := range l.versions[from-l.begun:] {
		if c.version > to {
			break
		}
		names = append(names, c.rows...)
	}
	return names, true
}

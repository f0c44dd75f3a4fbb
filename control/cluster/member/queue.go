package member

import "sync"

// maxWaiting is how many messages wait for a slow reader before further ones
// are dropped; anti-entropy repairs what they would have said.
const maxWaiting = 4096

// Queue stands between a source of events that must never block and a reader
// that may: Put returns at once, always.
type Queue struct {
	out  chan Event
	done chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	wake     *sync.Cond
	waiting  []Event
	messages int // of waiting
	dropped  int
	closed   bool
}

// NewQueue returns a Queue; Close ends its goroutine.
func NewQueue() *Queue {
	q := &Queue{out: make(chan Event), done: make(chan struct{})}
	q.wake = sync.NewCond(&q.mu)
	q.wg.Add(1)
	go q.run()
	return q
}

// Out is the reader's side. Close closes it.
func (q *Queue) Out() <-chan Event { return q.out }

// Put adds e at the end. Messages are dropped while maxWaiting of them wait;
// other events never are. After Close it does nothing.
func (q *Queue) Put(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if e.Kind == Message {
		if q.messages >= maxWaiting {
			q.dropped++
			return
		}
		q.messages++
	}
	q.waiting = append(q.waiting, e)
	q.wake.Signal()
}

// Dropped is how many messages were lost to a slow reader.
func (q *Queue) Dropped() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close drops what waits and closes Out. It may be called twice.
func (q *Queue) Close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.done)
		q.wake.Signal()
	}
	q.mu.Unlock()
	q.wg.Wait()
}

func (q *Queue) run() {
	defer q.wg.Done()
	defer close(q.out)
	for {
		e, ok := q.next()
		if !ok {
			return
		}
		select {
		case q.out <- e:
		case <-q.done:
			return
		}
	}
}

// next waits for the first event; false means that the queue was closed.
func (q *Queue) next() (Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return Event{}, false
	}
	e := q.waiting[0]
	q.waiting[0] = Event{}
	q.waiting = q.waiting[1:]
	if e.Kind == Message {
		q.messages--
	}
	return e, true
}

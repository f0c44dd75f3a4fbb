// Package cluster keeps the replicated tables of all hosts the same, and knows
// which hosts there are. It composes the gossip (package member), requests
// between two hosts (package rpc) and the tables (package store).
//
// What flows through it, in order:
//
//	a change here   ─▶ Spread ─▶ outbox ─▶ rows that fit, else a hint ─▶ gossip
//	                └▶ SpreadNow: also a push to every live peer, answered when applied there
//	gossip          ─▶ runEvents ─┬▶ rows ─▶ inbox ─▶ store.Merge ─▶ gaps are wanted
//	                              ├▶ hint ─▶ wanted
//	                              └▶ peer came, failed, left ─▶ peers; one that came is greeted
//	wanted, greeted ─▶ runSyncer ─▶ exchange: pull what is missing here, push what is missing there
//	every 3 s       ─▶ runSyncer ─▶ exchange with a random live peer; tombstones that all have seen go
//	requests        ─▶ hello, pull, push, call/NAME of other hosts
//	restart, heal   ─▶ runRejoin ─▶ hello ─▶ exchange ─▶ gossip, at the addresses on disk
//
// Events may be lost, all of them: the exchange alone brings two hosts to the
// same tables, and the events only make it early. Every goroutine belongs to
// the Cluster and ends in Close.
//
// The states of a peer, as one host sees them:
//
//	            hello, exchange, gossip
//	unknown ──────────────────────────────▶ alive ◀─────────────────┐
//	   │                                   │  │  ▲                  │
//	   │ its node row arrives,    no answer│  │  │ answers again,   │
//	   │ or is on disk from   ┌────────────┘  │  │ by itself or     │ `up` again
//	   │ before a restart     ▼               │  │ through runRejoin│ with --join
//	   └─────────────────▶ failed ────────────┼──┘                  │
//	                          │               │ Leave               │
//	            its tombstoned│node row       ▼                     │
//	            arrives later │             left ───────────────────┘
//	                          ▼               │
//	                   not listed ◀───────────┘ its node row is tombstoned
//
// A failed peer keeps its rows for as long as it takes, and its datapath may
// well be forwarding: only its own Leave, or its removal by an operator, takes
// it off the list.
package cluster

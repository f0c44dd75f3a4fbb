// Package ipam hands out the addresses of networks: it is what a network's
// authority, the one node that may do so, runs.
//
// What flows through it, in order:
//
//	Request ─▶ Allocate ─▶ wanted addresses checked, others picked ─▶ lease on disk ─▶ addresses
//	endpoint gone ─▶ Release, or Reconcile after a grace ─▶ rest on disk ─▶ free after Options.Rest
//	authority leaves ─▶ Export ─▶ another node ─▶ Import ─▶ on its disk ─▶ that one is the authority
//
// A lease is on disk before Allocate returns, so that a crash at any time
// leaves no address with two owners. Addresses are picked in rotation and rest
// after their release, because neighbours, DNS clients and flow tables
// remember for a while who had them.
package ipam

package link

// After returns s with a hook that CreateEndpoint calls between its steps:
// "create", "inner", "host", "ready", "present".
func (s EndpointSpec) After(hook func(step string)) EndpointSpec {
	s.after = hook
	return s
}

// Dump is the retry of interrupted dumps.
func Dump(list func() (int, error)) (int, error) { return dump(list) }

// Removals reads names out of netlink messages.
var Removals = removals

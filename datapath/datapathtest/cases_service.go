package datapathtest

// serviceGroups are the cases about services, docs/adr/0017-services.md.
func serviceGroups() []group {
	return []group{
		{"VIP neighbours", vipNeighbourCases},
		{"VIP addresses", vipAddressCases},
		{"VIP balance", balanceCases},
		{"VIP packets", vipPacketCases},
		{"VIP uncut packets", vipUncutCases},
		{"VIP connection", connectionCases},
		{"VIP and direct connections", directCases},
		{"VIP refusals", refusalCases},
		{"VIP echo", vipEchoCases},
		{"VIP errors", vipErrorCases},
		{"VIP path MTU", vipPathCases},
		{"VIP backends", backendCases},
		{"VIP removed", removedCases},
		{"VIP affinity", affinityCases},
		{"VIP itself", ownBackendCases},
		{"VIP collisions", collisionCases},
		{"VIP fragments", vipFragmentCases},
		{"VIP details", vipDetailCases},
		{"VIP crowds", crowdCases},
		{"VIP flood", floodCases},
	}
}
